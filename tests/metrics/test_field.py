"""The metrics other papers use, against hand-written loops; strata, calibration, uncertainty."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import cosine as cosine_distance
from sklearn.metrics import r2_score

from perturbkit.core.errors import SchemaError, UnknownNameError
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.metrics import METRICS
from perturbkit.metrics.align import align
from perturbkit.metrics.pooled import pooled
from perturbkit.metrics.score import CEILINGS, score
from perturbkit.metrics.uncertainty import calibration
from perturbkit.metrics.weighted import specificity_weights

G = 80


@pytest.fixture(scope="module")
def truth() -> Responses:
    """One context, 15 perturbations, the first ten readouts not expressed in the control."""
    rng = np.random.default_rng(2)
    base = rng.gamma(2, 0.5, G)
    base[:10] = 0
    effect = rng.normal(0, 0.4, (16, G)) * np.linspace(0.2, 2, 16)[:, None]
    effect[0] = 0
    mean = np.maximum(base + effect, 0)
    halves = np.maximum(mean + rng.normal(0, 0.1, (2, *mean.shape)), 0).astype(np.float32)
    names = ["control", *(f"p{i}" for i in range(15))]
    table = pl.DataFrame({"perturbation": names})
    readouts = Vocabulary([f"g{i}" for i in range(G)], "readout")
    return Responses(halves.mean(0)[None], table, readouts, "log1p_cp10k", halves)


@pytest.fixture(scope="module")
def predicted(truth: Responses) -> Responses:
    noise = np.random.default_rng(3).normal(0, 0.3, truth.values.shape).astype(np.float32)
    return replace(truth, values=np.maximum(truth.values + noise, 0), halves=None)


@pytest.fixture(scope="module")
def pair(truth: Responses, predicted: Responses):
    return align(truth, {"m": predicted}, truth).pair("m")


def test_gears_scores_equal_a_loop(pair) -> None:
    for c in range(15):
        t, p, control = pair.truth_cg[c], pair.predicted_cg[c], pair.control_cg[c]
        for expressed, ending in ((False, ""), (True, "_expressed")):
            allowed = np.flatnonzero((t != 0) & (control != 0)) if expressed else np.arange(G)
            top = allowed[np.argsort(-np.abs(t - control)[allowed], kind="stable")[:20]]
            error = np.mean((p[top] - t[top]) ** 2)
            wrong = np.mean((t - control)[top] * (p - control)[top] < 0)
            assert METRICS[f"mse_top20{ending}"].fn(pair)[c] == pytest.approx(error, rel=1e-5)
            assert METRICS[f"opposite_top20{ending}"].fn(pair)[c] == pytest.approx(wrong)
        if not expressed:
            r = np.corrcoef((t - control)[top], (p - control)[top])[0, 1]
            assert METRICS["pearson_delta_top20"].fn(pair)[c] == pytest.approx(r, rel=1e-4)


def test_perturbench_scores_equal_a_loop(pair) -> None:
    for c in range(15):
        t, p, control = (
            x[c].astype(float) for x in (pair.truth_cg, pair.predicted_cg, pair.control_cg)
        )
        lt, lp = (np.log2(x + 0.1) - np.log2(control + 0.1) for x in (t, p))
        assert METRICS["cosine"].fn(pair)[c] == pytest.approx(1 - cosine_distance(t, p), rel=1e-5)
        assert METRICS["cosine_logfc"].fn(pair)[c] == pytest.approx(
            1 - cosine_distance(lt, lp), abs=1e-5
        )
        assert METRICS["rmse_logfc"].fn(pair)[c] == pytest.approx(
            np.sqrt(np.mean((lt - lp) ** 2)), rel=1e-4
        )
        distance = np.sqrt(((pair.predicted_cg - pair.truth_cg[c]) ** 2).mean(1))
        nearer = np.sum(distance < distance[c]) / 14
        assert METRICS["rank_rmse"].fn(pair)[c] == pytest.approx(nearer)


def test_weighted_scores_equal_their_definition(pair) -> None:
    weights = specificity_weights(pair.truth_cg - pair.centroid_cg)
    np.testing.assert_allclose(weights.sum(1), 1)
    for c in range(15):
        t, p = (pair.truth_cg - pair.centroid_cg)[c], (pair.predicted_cg - pair.centroid_cg)[c]
        expected = r2_score(t.astype(float), p, sample_weight=weights[c])
        assert METRICS["weighted_r2_delta"].fn(pair)[c] == pytest.approx(expected, abs=1e-5)
        error = np.average((t - p) ** 2, weights=weights[c])
        assert METRICS["wmse"].fn(pair)[c] == pytest.approx(error, rel=1e-4)


def test_centroid_accuracy_equals_a_loop(pair) -> None:
    for c in range(15):
        distance = np.linalg.norm(pair.truth_cg - pair.predicted_cg[c], axis=1)
        expected = np.sum(distance > distance[c]) / 14
        assert METRICS["centroid_accuracy"].fn(pair)[c] == pytest.approx(expected)


def scored(truth: Responses, predicted: Responses):
    plain = replace(truth, halves=None)
    mean = np.repeat(truth.mean_cg[1:].mean(0)[None], 16, 0)
    models = {"m": predicted, "mean": replace(plain, values=mean[None])}
    rng = np.random.default_rng(0)
    return score(truth, models, train=truth, metrics=["rmse", "wmse", "r2"], rng=rng)


def test_strata_join_to_the_whole(truth: Responses, predicted: Responses) -> None:
    scores = scored(truth, predicted)
    strata = scores.by("effect").filter(model="m", metric="rmse")
    assert strata["effect"].to_list() == [f"effect {i} of 3" for i in (1, 2, 3)]
    assert strata["n"].to_list() == [5, 5, 5]
    whole = scores.table.filter(model="m", metric="rmse")["value"].item()
    assert strata["value"].mean() == pytest.approx(whole)
    mean = scores.by("effect").filter(model="mean", metric="rmse")["value"].to_list()
    assert mean[2] > mean[0], "the mean fails where effects are large"
    assert scores.by("context").height == scores.table.height
    with pytest.raises(UnknownNameError, match="did you mean 'context'"):
        scores.by("contxt")


def test_calibrated_range_goes_from_the_mean_to_a_replicate(truth, predicted) -> None:
    table = scored(truth, predicted).calibrated("mean")
    fraction = {(m, k): f for m, k, _, _, f in table.rows()}
    for metric in ("rmse", "wmse"):
        assert fraction["mean", metric] == 0
        assert max(fraction[name, metric] for name in CEILINGS) == 1
        assert fraction["m", metric] < 1
    with pytest.raises(UnknownNameError):
        scored(truth, predicted).calibrated("nobody")


@pytest.mark.parametrize("stated", [0.5, 1.0, 2.0])
def test_uncertainty_is_judged_right(truth: Responses, stated: float) -> None:
    """An ensemble that states its true spread covers as it says; too little or too much shows."""
    rng = np.random.default_rng(5)
    plain, shape = replace(truth, halves=None), truth.values.shape
    width = rng.uniform(0.05, 0.5, (1, shape[1], 1))
    centre = truth.values + width * rng.normal(size=shape)
    members = centre + stated * width * rng.normal(size=(60, *shape[1:]))
    table = calibration(truth, replace(plain, values=members.astype(np.float32)))
    gap = (table["coverage"] - table["level"]).mean()
    assert np.sign(np.round(gap, 1)) == np.sign(stated - 1)
    assert (table["expected_calibration_error"][0] < 0.03) == (stated == 1)
    assert table["spread_error_correlation"][0] > 0.8
    with pytest.raises(SchemaError, match="one member"):
        calibration(truth, plain)


def test_pooled_scores_equal_sklearn(truth: Responses, predicted: Responses) -> None:
    found = pooled(truth, predicted)
    x, y = truth.mean_cg[1:].ravel().astype(float), predicted.mean_cg[1:].ravel().astype(float)
    assert found["n"] == 15 * G
    assert found["r2"] == pytest.approx(r2_score(x, y), rel=1e-6)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((x - y) ** 2)), rel=1e-6)
    assert found["mae"] == pytest.approx(np.abs(x - y).mean(), rel=1e-6)
    assert found["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-6)
