"""score(): alignment by name, refusals, intervals, the ceiling, paired differences."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import SchemaError, UnitError, UnknownNameError
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.metrics import METRICS
from perturbkit.metrics.bootstrap import draw_weights, interval
from perturbkit.metrics.score import CEILING, CEILINGS, DUPLICATE, Scores, score

N_PERTURBATIONS, N_READOUTS, NOISE = 40, 220, 0.1


@pytest.fixture(scope="module")
def truth() -> Responses:
    """Two contexts; two halves, each with noise of NOISE times the square root of 2."""
    rng = np.random.default_rng(11)
    names = ["control", *(f"g{i}" for i in range(N_PERTURBATIONS))]
    rows = [(p, c) for c in ("left", "right") for p in names]
    base = {c: rng.gamma(2.0, 0.5, N_READOUTS) for c in ("left", "right")}
    effect = {p: rng.normal(0, 0.3, N_READOUTS) * (p != "control") for p in names}
    mean = np.stack([base[c] + effect[p] for p, c in rows])
    halves = (mean + rng.normal(0, NOISE * np.sqrt(2), (2, *mean.shape))).astype(np.float32)
    readouts = Vocabulary([f"g{i}" for i in range(N_READOUTS)], "readout")
    table = pl.DataFrame(rows, schema=["perturbation", "context"], orient="row")
    return Responses(halves.mean(0)[None], table, readouts, "log1p_cp10k", halves)


@pytest.fixture(scope="module")
def predictions(truth: Responses) -> dict[str, Responses]:
    rng = np.random.default_rng(12)
    values = truth.values + rng.normal(0, 0.2, truth.values.shape).astype(np.float32)
    none = truth.control_of(truth.contexts)[None]
    plain = replace(truth, halves=None)
    return {"good": replace(plain, values=values), "no_change": replace(plain, values=none)}


@pytest.fixture(scope="module")
def scores(truth: Responses, predictions: dict[str, Responses]) -> Scores:
    return score(truth, predictions, train=truth, rng=np.random.default_rng(0))


def value(scores: Scores, model: str, metric: str) -> float:
    return scores.table.filter(model=model, metric=metric)["value"].item()


def test_table_has_every_model_and_metric(scores: Scores) -> None:
    assert scores.table.height == 4 * len(METRICS)
    assert scores.models == ["good", "no_change", CEILING, DUPLICATE]
    assert scores.complete
    assert (scores.table["low"] <= scores.table["value"] + 1e-9).all()
    assert (scores.table["high"] >= scores.table["value"] - 1e-9).all()
    assert scores.conditions.height == 4 * len(METRICS) * 2 * N_PERTURBATIONS
    assert "control | left" not in scores.conditions["key"]


def test_no_change_explains_nothing(scores: Scores) -> None:
    assert value(scores, "no_change", "pearson_delta") == 0
    assert abs(value(scores, "no_change", "pearson_centroid")) < 0.1
    assert value(scores, "no_change", "discrimination_cosine") == 0.5
    assert value(scores, "no_change", "pearson") > 0.8


def test_ceiling_is_what_a_replicate_of_full_size_scores(scores: Scores, truth: Responses) -> None:
    """The planted noise is known: a replicate differs by sqrt(2) NOISE, and reliability follows."""
    assert value(scores, CEILING, "rmse") == pytest.approx(NOISE * np.sqrt(2), rel=0.02)
    signal = 0.3**2
    r = signal / (signal + NOISE**2)
    # the shared measured control adds its own noise to both sides
    shared = (signal + NOISE**2) / (signal + 2 * NOISE**2)
    assert r < value(scores, CEILING, "pearson_delta") + 0.01
    assert value(scores, CEILING, "pearson_delta") == pytest.approx(shared, abs=0.02)


def test_an_interpolated_duplicate_is_the_best_that_half_the_cells_allow(scores: Scores) -> None:
    half = 2 * NOISE**2  # noise variance of half the cells
    left = half * 0.3**2 / (half + 0.3**2)
    best = np.sqrt(left + NOISE**2)  # and the truth's own noise
    assert value(scores, DUPLICATE, "rmse") == pytest.approx(best, rel=0.03)
    assert 0.8 < value(scores, DUPLICATE, "pearson_delta") < 1


def test_an_interpolated_duplicate_of_nothing_is_the_mean() -> None:
    """Where conditions differ by noise alone, a second measurement knows no more than the mean."""
    rng = np.random.default_rng(4)
    names = ["control", *(f"p{i}" for i in range(40))]
    halves = rng.normal(3, 0.3, (2, 41, 200)).astype(np.float32)
    table = pl.DataFrame({"perturbation": names})
    readouts = Vocabulary([f"g{i}" for i in range(200)], "readout")
    truth = Responses(halves.mean(0)[None], table, readouts, "log1p_cp10k", halves)
    mean = replace(truth, values=np.repeat(truth.mean_cg[1:].mean(0)[None], 41, 0)[None],
                   halves=None)  # fmt: skip
    found = score(truth, {"mean": mean}, train=None, metrics=["rmse"], rng=rng)
    assert value(found, DUPLICATE, "rmse") == pytest.approx(value(found, "mean", "rmse"), rel=0.05)
    assert value(found, CEILING, "rmse") > 1.3 * value(found, "mean", "rmse")


def test_intervals_cover(rng: np.random.Generator) -> None:
    """About 95 of 100 intervals of a mean of 60 draws contain the mean they are drawn around."""
    labels = np.arange(60).astype(str)
    data = rng.normal(0.3, 1, (60, 300))
    low, high = interval(data, draw_weights(labels, 400, rng), 0.95)
    assert 0.90 < np.mean((low < 0.3) & (high > 0.3)) < 0.98


def test_contexts_of_a_perturbation_are_drawn_together(rng: np.random.Generator) -> None:
    weights = draw_weights(np.array(["a", "b", "a", "c"]), 200, rng)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()


def test_compare_is_paired_and_antisymmetric(scores: Scores) -> None:
    one = scores.compare("good", "no_change").filter(metric="rmse").row(0, named=True)
    two = scores.compare("no_change", "good").filter(metric="rmse").row(0, named=True)
    assert one["difference"] == pytest.approx(-two["difference"])
    assert one["high"] < 0 < two["low"]
    assert one["share"] == 1
    assert two["share"] == 0
    # pairing removes what conditions share: narrower than the two intervals together
    table = scores.table.filter(pl.col("metric") == "rmse", ~pl.col("model").is_in(CEILINGS))
    assert one["high"] - one["low"] < (table["high"] - table["low"]).sum()
    same = scores.compare("good", "good")
    assert (same["difference"] == 0).all()
    assert (same["share"] == 0.5).all()
    with pytest.raises(UnknownNameError, match="did you mean 'good'"):
        scores.compare("god", "good")


def test_same_rng_same_table(truth: Responses, predictions: dict[str, Responses]) -> None:
    two = [
        score(truth, predictions, train=None, metrics=["rmse"], rng=np.random.default_rng(4)).table
        for _ in range(2)
    ]
    assert two[0].equals(two[1])


def test_refused_and_missing_conditions_are_counted(
    truth: Responses, predictions: dict[str, Responses]
) -> None:
    good = predictions["good"]
    values = good.values.copy()
    values[:, 3] = np.nan  # refused
    values[:, 4, 7] = np.nan  # leaves out one hard readout
    partial = replace(good, values=values).select(np.arange(good.values.shape[1]) != 5)
    scores = score(
        truth, {"m": partial}, train=None, metrics=["rmse"], rng=np.random.default_rng(0)
    )
    row = scores.table.filter(model="m").row(0, named=True)
    assert row["n"] == 2 * N_PERTURBATIONS - 3
    for reason in ("refused by the model", "prediction is incomplete", "not predicted"):
        assert f"1 of 80: {reason}" in row["reason"]
    assert any("1 of 80 conditions are not predicted" in note for note in scores.notes)


def test_refusing_the_hard_ones_gains_nothing_in_a_comparison(
    truth: Responses, predictions: dict[str, Responses], scores: Scores
) -> None:
    """A model that answers only where it does well looks better alone, never side by side."""
    good = predictions["good"]
    easy = scores.values["good", "rmse"] < np.median(scores.values["good", "rmse"])
    keys = [k for k, e in zip(scores.scored["key"], easy, strict=True) if e]
    both = score(
        truth, {"picky": good.at(keys), "good": good}, train=None, metrics=["rmse"],
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert value(both, "picky", "rmse") < value(both, "good", "rmse")
    assert both.compare("picky", "good")["difference"].item() == 0


def test_alignment_is_by_name(truth: Responses, predictions: dict[str, Responses]) -> None:
    good, rng = predictions["good"], np.random.default_rng(2)
    names = Vocabulary(rng.permutation(list(truth.readouts)), "readout")
    moved = good.select(rng.permutation(good.values.shape[1])).with_readouts(names)
    one = score(truth, {"m": good}, train=None, metrics=["rmse"], rng=rng)
    two = score(truth, {"m": moved}, train=None, metrics=["rmse"], rng=rng)
    np.testing.assert_array_equal(one.values["m", "rmse"], two.values["m", "rmse"])


def test_missing_readouts_are_reported_and_score_for_nobody(
    truth: Responses, predictions: dict[str, Responses]
) -> None:
    good = predictions["good"]
    fewer = good.with_readouts(Vocabulary(good.readouts[:100], "readout"))
    rng = np.random.default_rng(0)
    both = score(truth, {"all": good, "few": fewer}, train=None, metrics=["mae"], rng=rng)
    np.testing.assert_array_equal(both.values["all", "mae"], both.values["few", "mae"])
    assert "120 of 220 readouts are missing, 'g100' first" in both.notes[0]
    foreign = replace(good, readouts=Vocabulary([f"ENSG{i}" for i in range(220)], "readout"))
    with pytest.raises(SchemaError, match="no readout in common"):
        score(truth, {"m": foreign}, train=None, rng=rng)


def test_mixed_units_and_scales_are_refused(
    truth: Responses, predictions: dict[str, Responses]
) -> None:
    good, rng = predictions["good"], np.random.default_rng(0)

    def refuse(match: str, prediction: Responses) -> None:
        with pytest.raises(UnitError, match=match):
            score(truth, {"m": prediction}, train=None, rng=rng)

    refuse("are in zscore and truth is in log1p_cp10k", replace(good, unit="zscore"))
    refuse("too large for log1p", replace(good, values=np.expm1(good.values * 3)))
    refuse("they are changes", replace(good, values=good.delta_cg()[None]))


def test_truth_needs_its_controls(truth: Responses, predictions: dict[str, Responses]) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SchemaError, match="has no control"):
        score(truth.select(~truth.is_control), predictions, train=None, rng=rng)
    with pytest.raises(SchemaError, match="controls only"):
        score(truth.select(truth.is_control), predictions, train=None, rng=rng)
    with pytest.raises(SchemaError, match="ceiling's name"):
        score(truth, {DUPLICATE: predictions["good"]}, train=None, rng=rng)
    with pytest.raises(UnknownNameError, match="did you mean 'rmse'"):
        score(truth, predictions, train=None, metrics=["rmes"], rng=rng)


def test_what_cannot_be_computed_says_why(truth: Responses, predictions: dict) -> None:
    few = Vocabulary(truth.readouts[:50], "readout")
    scores = score(
        truth.with_readouts(few), {"m": predictions["good"]}, train=None,
        metrics=["pearson_centroid", "top_100_overlap"], rng=np.random.default_rng(0),
    )  # fmt: skip
    table = scores.table.filter(model="m")
    assert table["value"].is_nan().all()
    assert table["n"].to_list() == [0, 0]
    assert table["reason"].to_list() == [
        "80 of 80: needs the training responses",
        "80 of 80: no more than 100 readouts were measured",
    ]
    assert not scores.complete


def test_context_without_training_perturbations_borrows_the_mean_change(truth: Responses) -> None:
    """A model that predicts the reference itself scores 0 in the unseen context."""
    train = truth.select((truth.contexts == "left") | truth.is_control)
    test = truth.select(truth.contexts == "right")
    change = train.delta_cg()[~train.is_control].mean(0)
    mean = replace(test, values=(test.control_of(test.contexts) + change)[None], halves=None)
    scores = score(
        test,
        {"mean": mean},
        train=train,
        metrics=["pearson_centroid"],
        rng=np.random.default_rng(0),
    )
    assert np.abs(scores.values["mean", "pearson_centroid"]).max() < 0.35


def test_shuffled_labels_do_not_beat_the_mean(truth: Responses) -> None:
    """Predicting other perturbations' true profiles is worse than predicting their mean."""
    rng = np.random.default_rng(8)
    plain = replace(truth, halves=None)
    deltas = truth.delta_cg()
    mean = np.where(truth.is_control[:, None], 0, deltas[~truth.is_control].mean(0))
    control = truth.control_of(truth.contexts)
    order = np.arange(len(truth.keys))
    for context in ("left", "right"):
        rows = np.flatnonzero((truth.contexts == context) & ~truth.is_control)
        order[rows] = np.roll(rng.permutation(rows), 1)
    models = {
        "mean": replace(plain, values=(control + mean)[None]),
        "shuffled": replace(plain, values=truth.values[:, order]),
    }
    scores = score(truth, models, train=truth, rng=rng)
    for metric in ("rmse", "mae", "r2"):
        row = scores.compare("mean", "shuffled").filter(metric=metric)
        assert row["share"].item() == 1, metric
    for metric in ("discrimination_l1", "discrimination_l2", "discrimination_cosine"):
        assert value(scores, "shuffled", metric) < 0.62, metric


def test_own_card_without_a_catalogue(truth: Responses, predictions: dict) -> None:
    card = replace(METRICS["mae"], name="mine")
    scores = score(truth, predictions, train=None, metrics=[card], rng=np.random.default_rng(0))
    assert set(scores.table["metric"]) == {"mine"}
