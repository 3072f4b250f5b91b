import numpy as np
import polars as pl
import pytest
import torch

from perturbkit.core.condition import Condition
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.nn.perturbation import EncoderConfig, PerturbationEncoder

TARGETS = Vocabulary(["A", "B", "C"], "target")


def net(*pairs: str) -> Graph:
    edges = pl.DataFrame([tuple(p) for p in pairs], schema=["source", "target"], orient="row")
    return Graph.of(edges, directed=False)


@pytest.fixture
def features(rng):
    return Features(Vocabulary("ABDE"), 100 + rng.normal(size=(4, 6)), "some")


@pytest.fixture
def encoder(rng, features):
    return PerturbationEncoder(
        TARGETS, 8, rng, features=features, graphs=[net("AF", "FG", "GH", "HI")]
    ).eval()


def of(encoder, *notations, **stated):
    encoded = encoder.encode([Condition.parse(n, **stated) for n in notations])
    return encoder(*encoded[:5])


def test_status_says_what_stands_behind_each_condition(encoder):
    notations = ["A", "D", "F", "I", "nobody", "A+D", "D+F", "control"]
    encoded = encoder.encode([Condition.parse(n) for n in notations])
    assert encoded.status == (
        "seen", "prior", "neighbour", "refused", "refused", "prior", "neighbour", "seen",
    )  # fmt: skip


def test_without_features_and_networks_only_training_targets_are_answered(rng):
    encoder = PerturbationEncoder(TARGETS, 4, rng)
    encoded = encoder.encode([Condition.parse("C"), Condition.parse("D")])
    assert encoded.status == ("seen", "refused")
    assert len(encoded.codes) == 1


def test_control_is_exactly_zero_whatever_the_dose(encoder):
    torch.nn.init.normal_(encoder.modify[-1].bias)
    z = of(encoder, "control", "A")
    assert (z[0] == 0).all()
    assert (z[1] != 0).any()


def test_combination_is_the_sum_of_its_targets_in_any_order(encoder):
    z = of(encoder, "A", "B", "A+B", "B+A")
    torch.testing.assert_close(z[2], z[0] + z[1])
    assert torch.equal(z[2], z[3])


def test_order_and_company_of_conditions_do_not_matter(encoder):
    names = ["B", "A+D", "control", "F"]
    together = of(encoder, *names)
    for i, name in enumerate(names):
        torch.testing.assert_close(of(encoder, name)[0], together[i])


def test_dose_time_and_kind_start_without_effect_and_can_learn_one(encoder):
    conditions = [Condition.parse(n, kind=k) for n, k in (
        ("A", "unknown"), ("A@10uM", "drug"), ("A@1uM", "drug"), ("A@1uM@24h", "drug"), ("A", "ko"),
    )]  # fmt: skip
    args = encoder.encode(conditions)[:5]
    start = encoder(*args)
    for row in start[1:]:
        torch.testing.assert_close(row, start[0])
    with torch.no_grad():
        encoder.modify[-1].weight.normal_(generator=torch.Generator().manual_seed(0))
    moved = encoder(*args)
    distances = torch.cdist(moved, moved) + torch.eye(5)
    assert distances.min() > 1e-3


def test_identity_is_hidden_in_training_only_where_something_else_speaks(rng, features):
    config = EncoderConfig(identity_dropout=0.9)
    alone = PerturbationEncoder(TARGETS, 4, rng, config=config).train()
    torch.testing.assert_close(of(alone, "A"), of(alone, "A"))
    helped = PerturbationEncoder(TARGETS, 4, rng, features=features, config=config).train()
    draws = torch.stack([of(helped, "A")[0] for _ in range(40)])
    assert len(draws.unique(dim=0)) == 2


def test_features_carry_an_effect_to_unseen_targets(rng):
    # the effect of a target is linear in its features: unseen ones must be predicted from them
    x = rng.normal(size=(60, 5)).astype(np.float32)
    names = [f"G{i}" for i in range(60)]
    truth = torch.from_numpy(x @ rng.normal(size=(5, 8)).astype(np.float32))
    encoder = PerturbationEncoder(
        Vocabulary(names[:45]), 8, rng, features=Features(Vocabulary(names), x)
    ).train()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.02)
    args = encoder.encode([Condition.parse(n) for n in names])
    assert set(args.status[45:]) == {"prior"}
    training, held_out = args.rows(torch.arange(45)), args.rows(torch.arange(45, 60))
    for _ in range(150):
        optimizer.zero_grad()
        loss = (encoder(*training[:5]) - truth[:45]).pow(2).mean()
        loss.backward()
        optimizer.step()
    error = (encoder.eval()(*held_out[:5]) - truth[45:]).pow(2).mean()
    assert error < 0.35 * truth[45:].var()


def test_networks_carry_an_effect_to_unseen_targets(rng):
    # four groups; members share an effect, and only the network says who belongs together
    group = np.arange(80) % 4
    names = [f"G{i}" for i in range(80)]
    pairs = [(names[i], names[j]) for i in range(80) for j in range(i)
             if group[i] == group[j] and rng.random() < 0.4]  # fmt: skip
    edges = pl.DataFrame(pairs, schema=["source", "target"], orient="row")
    truth = torch.from_numpy(rng.normal(size=(4, 8)).astype(np.float32)[group])
    errors = []
    for graph in (Graph.of(edges, directed=False), net(("G0", "G1"))):
        encoder = PerturbationEncoder(Vocabulary(names[:60]), 8, rng, graphs={"net": graph})
        optimizer = torch.optim.Adam(encoder.parameters(), lr=0.02)
        args = encoder.encode([Condition.parse(n) for n in names])
        training = args.rows(torch.arange(60))
        for _ in range(60):
            optimizer.zero_grad()
            loss = (encoder(*training[:5]) - truth[:60]).pow(2).mean()
            loss.backward()
            optimizer.step()
        held_out = args.rows(torch.arange(60, 80))
        empty = set(held_out.status) == {"refused"}
        answered = torch.zeros(20, 8) if empty else encoder.eval()(*held_out[:5])
        errors.append((answered - truth[60:]).pow(2).mean().item())
    assert errors[0] < 0.4 * errors[1]


def test_state_returns_without_features_and_networks_at_hand(encoder):
    encoder.train()
    copy = PerturbationEncoder.restore(encoder.plain())
    copy.load_state_dict(encoder.state_dict())
    names = ["A", "D", "F", "A+B@3uM", "I"]
    assert torch.equal(of(encoder.eval(), *names), of(copy.eval(), *names))
    conditions = [Condition.parse(n) for n in names]
    assert encoder.encode(conditions).status == copy.encode(conditions).status


def test_same_seed_gives_the_same_bits(features):
    made = [PerturbationEncoder(TARGETS, 8, np.random.default_rng(3), features=features,
                                graphs=[net("AF")]).eval() for _ in range(2)]  # fmt: skip
    assert torch.equal(of(made[0], "A", "D", "F"), of(made[1], "A", "D", "F"))


def test_a_batch_without_any_target_is_all_zero(encoder):
    assert of(encoder, "control").shape == (1, 8)
    assert not of(encoder, "control").any()


def test_gradient_reaches_identity_features_and_networks(encoder):
    encoder.train()
    of(encoder, "A", "B", "D").pow(2).sum().backward()
    for name, parameter in encoder.named_parameters():
        if "modify.0" not in name and "from_graphs.own" not in name:
            assert parameter.grad is not None, name
    assert encoder.identity.grad.abs().sum() > 0
