"""The transition model has no order of cells, starts from its closed form, and keeps zeros."""

import numpy as np
import polars as pl
import pytest
import torch

from perturbkit.core.rng import named_rng
from perturbkit.data.profiles import responses_of
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.splits import SplitConfig, make_split
from perturbkit.data.store import store_of
from perturbkit.metrics.cells.clouds import energy
from perturbkit.models import MODELS
from perturbkit.models.count_decoder import CountDecoder
from perturbkit.models.nn.transition import padded
from perturbkit.models.state_transition import StateTransition, StateTransitionConfig, card
from perturbkit.recipes.side_information import fit_data
from perturbkit.train.cell_batches import CellSource
from perturbkit.train.config import TrainConfig
from perturbkit.train.profiles import MemberPlan, fit_member

SMALL = StateTransitionConfig(d_model=16, n_heads=2, d_hid=16, n_layers=1, rank=8, n_controls=60)


@pytest.fixture(scope="module")
def case():
    """A small simulated screen with a context of which only the control is trained on."""
    made = simulate(preset("tiny"), named_rng(3, "state"))
    truth = responses_of(made.screen)
    split = make_split(
        truth.conditions, SplitConfig(kind="unseen_context", contexts=("line2",)),
        named_rng(0, "split"),
    )  # fmt: skip
    data = fit_data(truth, split, "none", named_rng(0, "features"), store_of(made.screen))
    return made, truth, truth.select(split.rows(truth, "test")), data


def built(data, config=SMALL, **more) -> StateTransition:
    return StateTransition.build(config, data.cells, None, np.random.default_rng(0), **more)


def shaken(model: StateTransition) -> StateTransition:
    """Give the network's part, which starts at zero, some weight."""
    with torch.no_grad():
        model.net.to_readouts.weight.normal_(0, 0.3)
    return model.eval()


def batch_of(model: StateTransition, data, **settings):
    config = TrainConfig.parse({**card.train, "set_cells": 8, "batch_cells": 64, **settings})
    source = CellSource(
        data.cells.store, data.cells.train_n, model.encode(data.cells.store.conditions), card,
        config, 0,
    )  # fmt: skip
    return next(source.epoch(0, 0, torch.device("cpu")))


def test_permuting_the_cells_of_a_set_permutes_the_answer(case) -> None:
    model = shaken(built(case[3]))
    rows = {k: v[3:5] for k, v in model.encode(case[1].conditions).items()}
    x = torch.from_numpy(model.controls.all_of("line1")[:12]).reshape(2, 6, -1)
    mask, order = torch.ones(2, 6, dtype=torch.bool), torch.tensor([4, 2, 0, 5, 1, 3])
    with torch.no_grad():
        straight, permuted = (model.net(v, mask, rows)[0] for v in (x, x[:, order]))
    torch.testing.assert_close(permuted, straight[:, order], rtol=1e-4, atol=1e-5)
    assert (straight[0, 0] - straight[0, 1]).abs().max() > 1e-3  # cells do differ


def test_cells_of_a_set_see_each_other_and_pads_are_seen_by_none(case) -> None:
    model = shaken(built(case[3]))
    rows = {k: v[3:4] for k, v in model.encode(case[1].conditions).items()}
    x = torch.from_numpy(model.controls.all_of("line1")[:6])[None]
    mask = torch.ones(1, 6, dtype=torch.bool)
    with torch.no_grad():
        whole = model.net(x, mask, rows)[0]
        alone = model.net(x[:, :3], mask[:, :3], rows)[0]
        padded_out = model.net(x, mask & (torch.arange(6) < 3), rows)[0][:, :3]
    torch.testing.assert_close(padded_out, alone, rtol=1e-4, atol=1e-5)
    assert (whole[:, :3] - alone).abs().max() > 1e-4


def test_sets_of_any_size_share_a_batch() -> None:
    x, set_of = torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 1, 2, 2])
    out, mask = padded(x, set_of)
    assert mask.sum(1).tolist() == [3, 1, 2]
    assert out[..., 0].tolist() == [[0, 1, 2], [3, 0, 0], [4, 5, 0]]


def test_untrained_it_predicts_its_closed_form_and_controls_exactly(case) -> None:
    _, truth, test, data = case
    model = built(data)
    table = test.conditions.select(pl.exclude("n_cells", "status"))
    origin = data.train.control_of(test.contexts)
    base = model._base.predict(table).mean_cg - origin
    effects = model.predict_perturbation_effects(table)
    np.testing.assert_allclose(effects, base, rtol=1e-3, atol=1e-4)
    controls = truth.select(truth.is_control)
    np.testing.assert_allclose(
        shaken(model).predict(controls.conditions).mean_cg, controls.mean_cg, atol=1e-6
    )


def test_what_was_measured_is_answered_by_the_closed_form_alone(case) -> None:
    model = shaken(built(case[3]))
    table = case[3].train.conditions.select(pl.exclude("n_cells", "status"))
    effects = model.predict_perturbation_effects(table)
    base = model._base.predict(table)
    np.testing.assert_allclose(effects, base.delta_cg(), rtol=1e-3, atol=1e-4)
    assert model.encode(table)["adds"].sum() == (~base.is_control).sum()
    unseen = case[2].conditions.select(pl.exclude("n_cells", "status"))
    other = model._base.predict(unseen).mean_cg - case[3].train.control_of(case[2].contexts)
    assert np.abs(model.predict_perturbation_effects(unseen) - other).max() > 0.01


def test_the_mean_moves_by_the_change_whatever_the_mix(case) -> None:
    model = built(case[3])
    x = torch.from_numpy(model.controls.all_of("line1"))[None]
    with torch.no_grad():
        model.net.control_kg[0] = x[0].mean(0)
        model.net.mix_up.normal_()
        change = torch.randn(1, 1, x.shape[-1]).expand_as(x) * 0.3
        moved = model.net.move(x, change, torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close((moved - x).mean(1), change.mean(1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"loss": "sinkhorn"}, {"loss": "mmd"},
                                     {"confidence": True}, {"base": "none"},
                                     {"loss": "counts"}])  # fmt: skip
def test_every_loss_trains_every_weight_that_it_should(changes, case) -> None:
    model = built(case[3], SMALL.replace(**changes))
    loss = model.loss(batch_of(model, case[3]))
    assert torch.isfinite(loss)
    loss.backward()
    assert float(model.net.to_readouts.weight.grad.abs().sum()) > 0
    if changes.get("confidence"):
        assert float(model.net.foretell.weight.grad.abs().sum()) > 0
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in grads)


def test_the_likelihood_of_counts_is_learnt_with_its_dispersions(case) -> None:
    model = built(case[3], SMALL.replace(loss="counts", decoder="counts")).train()
    start = model.net.dispersion()
    with torch.no_grad():
        model.net.log_dispersion += 1.5  # a start that the likelihood must leave
    batch = batch_of(model, case[3])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.02
    learnt = model.net.dispersion()
    assert np.isfinite(learnt).all()
    expressed = case[3].train.control_of(["line1"])[0] > 0.5
    assert np.median(learnt[expressed] / start[expressed]) < np.exp(1.5) / 1.5
    restored = StateTransition.restore(model.config, model.state())
    np.testing.assert_array_equal(restored.net.dispersion(), learnt)
    table = case[2].conditions.select(pl.exclude("n_cells", "status"))[:1]
    cells = restored.predict_cells(table, 20, np.random.default_rng(0)).x[0]
    assert np.isfinite(cells).all()


def test_training_lowers_the_loss_on_the_sets_it_sees(case) -> None:
    model = built(case[3], SMALL.replace(base="none", dropout=0.0)).train()
    batch = batch_of(model, case[3])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_training_conditions_carry_a_change_their_base_never_saw(case) -> None:
    model = built(case[3])
    table = case[3].train.conditions.select(pl.exclude("n_cells", "status"))
    for_training, for_answers = model.encode(table)["change"], model._rows(table)["change"]
    assert (for_training - for_answers).abs().max() > 0.01
    held_out = case[2].conditions.select(pl.exclude("n_cells", "status"))
    torch.testing.assert_close(model.encode(held_out)["change"], model._rows(held_out)["change"])


def test_unseen_targets_are_prior_where_something_is_known_and_refused_else(case) -> None:
    made, truth, _, data = case
    seen = set(truth.conditions["perturbation"])
    unseen = next(g for g in made.screen.readouts if g not in seen)
    table = pl.DataFrame({"perturbation": [unseen, "NOSUCH", f"{unseen}+NOSUCH"],
                          "context": ["line1"] * 3})  # fmt: skip
    model = built(data)
    assert model.statuses(table).tolist() == ["prior", "refused", "refused"]
    own = truth.readouts.position(unseen)
    effect = model.predict_perturbation_effects(table[:1])[0]
    assert effect[own] == effect.min() < -0.2  # knocked down, so it falls
    assert built(data, SMALL.replace(base="none")).statuses(table[:1]).tolist() == ["refused"]


def test_beats_shifted_controls_in_a_context_never_perturbed(case) -> None:
    _, _, test, data = case
    train = TrainConfig.parse({**card.train, "n_epochs": 2, "batch_cells": 128})
    model = fit_member(MemberPlan(card, SMALL, train, 0, 0), data, None, None)
    shifted = MODELS["shifted_controls"]
    other = shifted.model.fit(
        shifted.config(base="mean_delta"), data.cells, None, np.random.default_rng(0)
    )
    errors = [np.nanmean((m.predict(test.conditions).mean_cg - test.mean_cg) ** 2)
              for m in (model, other)]  # fmt: skip
    assert errors[0] < 0.9 * errors[1]
    cells = [m.predict_cells(test.conditions, 60, np.random.default_rng(1)) for m in (model, other)]
    store = data.cells.store
    keys = [f"{p} | {c}" for p, c in store.conditions.select("perturbation", "context").rows()]
    far = np.zeros((len(test.keys), 2))
    for i, key in enumerate(test.keys):
        rows = np.flatnonzero(store.arrays["condition"] == keys.index(key))
        measured = store.dense(rows, log=True)
        far[i] = [energy(measured, drawn.x[i]) for drawn in cells]
    assert (far[:, 0] - far[:, 1]).mean() < 0


def test_moved_cells_keep_their_zeros_where_a_gene_falls(case) -> None:
    model = built(case[3], SMALL.replace(decoder="moved", draw="random"))
    table = case[2].conditions.select(pl.exclude("n_cells", "status"))[:1]
    drawn = model.predict_cells(table, 40, np.random.default_rng(0)).x[0]
    controls = model.controls.draw("line2", 40, np.random.default_rng(0))
    fallen = model.predict_perturbation_effects(table)[0] < 0
    assert (drawn[:, fallen][controls[:, fallen] == 0] == 0).all()


def test_representative_control_cells_lie_nearer_to_all_than_independent_draws(case) -> None:
    controls = built(case[3]).controls
    everything = controls.all_of("line1")
    n = len(everything)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        near = energy(everything, controls.representative("line1", n // 2, rng))
        assert near < 0.8 * energy(everything, controls.draw("line1", n // 2, rng))
    more = controls.representative("line1", 2 * n + 3, np.random.default_rng(0))
    counts = np.unique(more, axis=0, return_counts=True)[1]
    assert len(more) == 2 * n + 3
    assert (counts.min(), counts.max()) == (2, 3)


def test_count_decoder_draws_the_law_it_was_asked_for(rng: np.random.Generator) -> None:
    def draw(fold: np.ndarray) -> np.ndarray:
        rate = rng.gamma(2.0, 0.5, (4000, 4)) * np.array([0.3, 1.0, 3.0, 8.0]) * fold
        counts = rng.poisson(rate)
        counts = np.column_stack([counts, np.full(4000, 1)])  # one molecule is in every cell
        return np.log1p(counts * 0.5).astype(np.float32)

    fold = np.array([0.4, 2.5, 0.5, 1.8])
    control, wanted = draw(np.ones(4)), draw(fold)
    decoder = CountDecoder.of(control, rng)
    delta = (wanted.mean(0) - control.mean(0))[None].repeat(4000, 0)
    moved = decoder.draw(control, delta, rng)
    np.testing.assert_allclose(moved.mean(0), wanted.mean(0), atol=0.06)
    np.testing.assert_allclose(moved.std(0)[:4], wanted.std(0)[:4], rtol=0.15)
    np.testing.assert_allclose((moved == 0).mean(0), (wanted == 0).mean(0), atol=0.04)
    steps = np.expm1(moved) / 0.5
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
