"""The LPM learns what its base misses, keeps every setting through a save, and refuses honestly."""

import numpy as np
import pytest
import torch

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.base import fit_base
from perturbkit.models.block import Block
from perturbkit.models.lpm import Lpm, LpmConfig, card
from perturbkit.models.lpm_embeddings import embedding_table
from perturbkit.train.config import TrainConfig
from perturbkit.train.profiles import FitData, MemberPlan, fit_member

N_GENES, N_TARGETS, N_READOUTS = 4, 30, 40
FAST = TrainConfig(
    n_epochs=60, block_rows=16, block_readouts=40, learning_rate=0.02, precision="fp32", patience=0
)


def planted(rng: np.random.Generator) -> tuple[Responses, Features]:
    """Two contexts; the change is a product of target and readout factors, bent by the context."""
    z_p = rng.normal(size=(N_TARGETS, N_GENES))
    z_r = rng.normal(size=(N_READOUTS, N_GENES))
    change = np.tanh(z_p @ z_r.T / 2)
    control = rng.random((2, N_READOUTS)) + 2
    values, conditions = [], []
    for c, context in enumerate("xy"):
        values += [control[c], *(control[c] + (0.5 + c) * change)]
        conditions += [Condition(context=context)]
        conditions += [Condition((f"T{i:02d}",), context) for i in range(N_TARGETS)]
    values_cg = np.array(values) + rng.normal(0, 0.02, (len(values), N_READOUTS))
    readouts = Vocabulary([f"R{i}" for i in range(N_READOUTS)], "readout")
    truth = Responses(values_cg[None], condition_table(conditions), readouts, "log1p_cp10k")
    names = Vocabulary([f"T{i:02d}" for i in range(N_TARGETS)], "target")
    return truth, Features(names, z_p.astype(np.float32))


def fit(config: LpmConfig, train: Responses, features: Features | None = None) -> Lpm:
    plan = MemberPlan(card, config, FAST, seed=0, member=0)
    return fit_member(plan, FitData(train, None, features), None, None)


def error(model: Lpm, test: Responses) -> float:
    return float(np.mean((model.predict(test.conditions).mean_cg - test.mean_cg) ** 2))


def test_held_out_pairs_are_learned_beyond_the_base(rng: np.random.Generator) -> None:
    truth, _ = planted(rng)
    test_rows = np.arange(3, 12)
    train = truth.select(np.setdiff1d(np.arange(62), test_rows))
    test = truth.select(test_rows)
    model = fit(LpmConfig(base="context_mean", hidden_dim=64), train)
    start = Lpm.build(LpmConfig(base="context_mean"), train, None, np.random.default_rng(0))
    assert error(model, test) < 0.3 * error(start, test)


def test_features_carry_targets_never_seen(rng: np.random.Generator) -> None:
    truth, features = planted(rng)
    unseen = np.r_[1:6, 32:37]
    train = truth.select(np.setdiff1d(np.arange(62), unseen))
    test = truth.select(unseen)
    config = LpmConfig(base="context_mean", hidden_dim=64, identity_dropout=0.5)
    model = fit(config, train, features)
    start = Lpm.build(config, train, features, np.random.default_rng(0))
    assert set(model.statuses(test.conditions)) == {"prior"}
    assert error(model, test) < 0.8 * error(start, test)


def test_status_of_what_is_known_and_not(rng: np.random.Generator) -> None:
    truth, _ = planted(rng)
    model = Lpm.build(LpmConfig(), truth, None, rng)
    asked = [
        Condition(("T00",), "x"), Condition(("T00", "T01"), "x"), Condition(("NEW",), "x"),
        Condition(("T00", "NEW"), "x"), Condition(("T00",), "z"), Condition((), "x"),
    ]  # fmt: skip
    predicted = model.predict(condition_table(asked))
    statuses = predicted.conditions["status"].to_list()
    assert statuses == ["seen", "seen", "prior", "prior", "refused", "seen"]
    refused = np.array(statuses) == "refused"
    assert np.isnan(predicted.mean_cg[refused]).all()
    assert np.isfinite(predicted.mean_cg[~refused]).all()
    np.testing.assert_allclose(predicted.mean_cg[5], truth.mean_cg[0], rtol=1e-6)


def test_what_the_base_refuses_falls_back_to_the_mean_of_the_context(rng) -> None:
    truth, features = planted(rng)
    doubles = condition_table([Condition(("T00", "T01"), "x"), Condition(("T02",), "x")])
    train = truth.select(np.r_[0, 1, 2, 4:62])  # without T02 in x
    model = Lpm.build(LpmConfig(base="additive"), train, features, rng)
    predicted = model.predict(doubles)
    assert predicted.conditions["status"].to_list() == ["seen", "seen"]
    unseen = model.predict(condition_table([Condition(("T29", "NEW"), "x")]))
    assert unseen.conditions["status"].to_list() == ["refused"]
    without = truth.select(np.setdiff1d(np.arange(62), [3, 34]))
    described = Lpm.build(LpmConfig(base="additive"), without, features, rng)
    again = Lpm.restore(LpmConfig(base="additive"), described.state())
    asked = condition_table([Condition(("T02",), "x")])
    answer = again.predict(asked)
    assert answer.conditions["status"].to_list() == ["prior"]
    assert np.isfinite(answer.values).all()
    np.testing.assert_array_equal(answer.values, described.predict(asked).values)


@pytest.mark.parametrize("aggregation", ["mean", "sum", "max"])
def test_save_and_load_keep_aggregation_and_gradients(aggregation, rng) -> None:
    truth, features = planted(rng)
    config = LpmConfig(aggregation=aggregation, base="none")
    model = Lpm.build(config, truth, features, rng)
    again = Lpm.restore(config, model.state())
    pairs = condition_table([Condition(("T00", "T01"), "x"), Condition(("T02", "T03"), "y")])
    np.testing.assert_array_equal(model.predict(pairs).values, again.predict(pairs).values)
    assert all(p.requires_grad for p in again.parameters())
    single = condition_table([Condition(("T00",), "x")])
    assert not np.array_equal(model.predict(single).values[0, 0], again.predict(pairs).values[0, 0])


def test_a_state_without_a_share_adds_the_whole_network_and_shares_are_kept(rng) -> None:
    truth, _ = planted(rng)
    config = LpmConfig(base="context_mean", hidden_dim=16)
    model = fit(config, truth)
    said = model.predict(truth.conditions).mean_cg
    arrays, about = model.state()
    older = Lpm.restore(config, (arrays, {k: v for k, v in about.items() if k != "share"}))
    np.testing.assert_array_equal(older.predict(truth.conditions).mean_cg, said)
    model.share = 0.25
    quarter = Lpm.restore(config, model.state()).predict(truth.conditions).mean_cg
    base, _ = model.base.predict(truth.conditions)
    np.testing.assert_allclose(quarter - base, (said - base) / 4, atol=1e-5)


def test_what_nothing_describes_is_the_prior_of_the_base_and_misspelt_names_refused(rng) -> None:
    truth, features = planted(rng)
    asked = condition_table([Condition(("NEW",), "x"), Condition(("T00",), "z")])
    for given, status in ((None, "prior"), (features, "refused")):
        model = Lpm.build(LpmConfig(base="mean_delta"), truth, given, rng)
        predicted = model.predict(asked)
        assert predicted.conditions["status"].to_list() == [status, "refused"]
    relative = Responses(truth.values, truth.conditions, truth.readouts, "log2fc")
    model = Lpm.build(LpmConfig(base="mean_delta"), relative, None, rng)
    predicted = model.predict(asked)  # in relative units a new context needs no control
    assert predicted.conditions["status"].to_list() == ["prior", "prior"]
    np.testing.assert_allclose(predicted.mean_cg, model.base.predict(asked)[0])
    published = Lpm.build(LpmConfig(base="none"), relative, None, rng)
    assert set(published.predict(asked).conditions["status"]) == {"refused"}


def test_what_was_not_measured_does_not_count(rng: np.random.Generator) -> None:
    truth, _ = planted(rng)
    values = truth.values.copy()
    values[0, 5, 7:] = np.nan
    holes = Responses(values, truth.conditions, truth.readouts, truth.unit)
    model = fit(LpmConfig(base="context_mean", hidden_dim=16), holes)
    assert np.isfinite(model.predict(truth.conditions).values).all()


def test_published_form_learns_controls_too(rng: np.random.Generator) -> None:
    truth, _ = planted(rng)
    model = fit(LpmConfig(base="none", hidden_dim=32), truth)
    controls = truth.select(truth.is_control)
    assert np.abs(model.predict(controls.conditions).mean_cg - controls.mean_cg).mean() < 0.25


def test_huber_is_the_square_within_one_deviation_and_linear_beyond(rng) -> None:
    truth, _ = planted(rng)
    model = Lpm.build(LpmConfig(base="none", loss="huber"), truth, None, rng)
    rows, columns = model.encode(truth.conditions[:2]), torch.arange(2)
    said = model(rows, columns).detach()
    block = Block(rows, columns, said + torch.tensor([[0.5, -3.0], [float("nan"), 0.0]]))
    torch.testing.assert_close(model.loss(block), torch.tensor((0.25 + 5.0 + 0.0) / 3))


def test_a_base_chosen_by_its_error_is_cross_fitted_once(rng, monkeypatch) -> None:
    truth, _ = planted(rng)
    model = Lpm.build(LpmConfig(), truth, None, rng)
    monkeypatch.setattr(type(model.base), "crossfitted_residual", None)
    values = model.training_values(truth, rng, held_out=False)
    assert np.isnan(values[truth.is_control]).all()
    np.testing.assert_allclose(np.nanstd(values), 1, rtol=1e-2)


def test_controls_alone_are_refused(rng: np.random.Generator) -> None:
    truth, _ = planted(rng)
    with pytest.raises(SchemaError, match="every training condition is a control"):
        Lpm.build(LpmConfig(), truth.select(truth.is_control), None, rng)


def test_embeddings_are_named(rng: np.random.Generator) -> None:
    truth, features = planted(rng)
    model = Lpm.build(LpmConfig(), truth, features, rng)
    assert list(embedding_table(model, "context").names) == ["x", "y"]
    assert list(embedding_table(model, "readout").names) == list(truth.readouts)
    assert embedding_table(model, "perturbation").width == 32


def test_bfloat16_trains_as_float32_does(rng: np.random.Generator) -> None:
    truth, _ = planted(rng)
    model = Lpm.build(LpmConfig(base="none", hidden_dim=32), truth, None, rng)
    rows = model.encode(truth.conditions)
    columns = torch.arange(N_READOUTS)
    with torch.no_grad():
        exact = model(rows, columns)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(rows, columns)
    assert (exact - rough.float()).abs().max() < 0.05 * exact.abs().max()


def test_combinations_may_have_a_base_of_their_own(rng: np.random.Generator) -> None:
    """Singles that no model can carry over, pairs that add up: additive is chosen for pairs."""
    n, n_readouts = 14, 30
    change = rng.normal(size=(n, n_readouts))
    conditions, values = [Condition()], [np.full(n_readouts, 5.0)]
    for i in range(n):
        conditions.append(Condition((f"T{i:02d}",)))
        values.append(5 + change[i])
    for i in range(n - 1):
        conditions.append(Condition((f"T{i:02d}", f"T{i + 1:02d}")))
        values.append(5 + change[i] + change[i + 1])
    readouts = Vocabulary([f"R{i}" for i in range(n_readouts)], "readout")
    noisy = np.array(values) + rng.normal(0, 0.05, (len(values), n_readouts))
    truth = Responses(noisy[None], condition_table(conditions), readouts, "log1p_cp10k")
    last = len(conditions) - 1
    model = Lpm.build(LpmConfig(slopes=False), truth.select(np.arange(last)), None, rng)
    other = model.base.for_combinations
    assert (other.kind if other else model.base.kind) == "additive"
    asked = truth.conditions[[last, 1]]
    predicted = model.predict(asked)
    assert np.abs(predicted.mean_cg[0] - truth.mean_cg[last]).mean() < 0.15
    again = Lpm.restore(model.config, model.state())
    np.testing.assert_array_equal(again.predict(asked).values, predicted.values)


def ragged(rng: np.random.Generator) -> Responses:
    """Context x has transcripts and viability, y transcripts alone, z viability alone."""
    n_viability, n = 3, N_TARGETS
    z_p = rng.normal(size=(n, N_GENES))
    loading = rng.normal(size=(N_READOUTS + n_viability, N_GENES))
    change = np.tanh(z_p @ loading.T / 2)
    values = np.concatenate([np.vstack([np.zeros(len(loading)), change + shift]) + 2
                             for shift in (0.0, 0.3, -0.3)])  # fmt: skip
    values += rng.normal(0, 0.02, values.shape)
    values[n + 1 : 2 * (n + 1), N_READOUTS:] = np.nan
    values[2 * (n + 1) :, :N_READOUTS] = np.nan
    conditions = [
        Condition(targets, context) for context in "xyz"
        for targets in [(), *[(f"T{i:02d}",) for i in range(n)]]
    ]  # fmt: skip
    names = [f"R{i}" for i in range(N_READOUTS)] + [f"viability_{h}h" for h in (24, 48, 72)]
    readouts = Vocabulary(names, "readout")
    return Responses(values[None], condition_table(conditions), readouts, "log1p_cp10k")


@pytest.mark.parametrize("base", ["auto", "context_mean"])
def test_transcripts_in_some_contexts_and_viability_in_others(base, rng) -> None:
    """What a context does not measure is not made up; what it does is learned from the others."""
    truth = ragged(rng)
    held = np.r_[3:8, 36:41, 72:80]  # some targets of each context, seen in the other two
    train, test = truth.select(np.setdiff1d(np.arange(len(truth.keys)), held)), truth.select(held)
    config = LpmConfig(base=base, hidden_dim=32)
    model = fit(config, train) if base == "context_mean" else Lpm.build(config, train, None, rng)
    predicted = model.predict(test.conditions)
    measured = ~np.isnan(test.mean_cg)
    np.testing.assert_array_equal(np.isfinite(predicted.mean_cg), measured)
    constant, _ = fit_base("context_mean", train, rng).predict(test.conditions)
    missed, of = np.square(predicted.mean_cg - test.mean_cg), np.square(constant - test.mean_cg)
    assert missed[measured].mean() < 0.7 * of[measured].mean()
    is_viability = np.arange(len(truth.readouts)) >= N_READOUTS
    for known in (measured & is_viability, measured & ~is_viability):
        assert missed[known].mean() < 0.9 * of[known].mean()
    again = Lpm.restore(model.config, model.state()).predict(test.conditions)
    np.testing.assert_array_equal(again.values, predicted.values)
