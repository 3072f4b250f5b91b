"""Scores of networks against sklearn and against what they must be."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph
from perturbkit.data.false_discovery import benjamini_hochberg
from perturbkit.grn.evaluate import against_truth, auroc, average_precision, calibration_error


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 60), st.integers(2, 8))
def test_areas_equal_sklearn_with_ties(seed, n, levels):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, n).astype(float)
    truth = rng.random(n) < 0.4
    truth[:2] = [True, False]
    assert auroc(score, truth) == pytest.approx(roc_auc_score(truth, score))
    assert average_precision(score, truth) == pytest.approx(average_precision_score(truth, score))


def test_rates_equal_scipys():
    from scipy.stats import false_discovery_control

    p = np.random.default_rng(0).random(50) ** 3
    assert np.allclose(benjamini_hochberg(p), false_discovery_control(p))
    with_gap = np.r_[p, np.nan]
    assert np.allclose(benjamini_hochberg(with_gap)[:-1], false_discovery_control(p))
    assert np.isnan(benjamini_hochberg(with_gap)[-1])


def graph(edges, **columns):
    source, target, weight, sign = zip(*edges, strict=True)
    table = pl.DataFrame(
        {"source": source, "target": target, "weight": weight, "sign": sign, **columns}
    )
    return Graph.of(table, directed=True, nodes=list("abcd"))


TRUTH = graph([("a", "b", 1.0, 1), ("b", "c", 1.0, -1), ("a", "d", 1.0, 1)])


def test_the_truth_scores_perfectly_against_itself():
    score = against_truth(TRUTH, TRUTH)
    assert (score["auroc"], score["auprc"], score["shd"], score["sign_accuracy"]) == (1, 1, 0, 1)
    assert score["early_precision_ratio"] == pytest.approx(12 / 3)


def test_a_reversed_edge_and_a_wrong_sign_are_counted():
    found = graph([("b", "a", 3.0, 1), ("b", "c", 2.0, 1), ("a", "d", 1.0, 1)])
    score = against_truth(found, TRUTH)
    assert score["shd"] == 2
    assert score["sign_accuracy"] == 0.5


def test_calls_and_calibration_come_with_their_columns():
    found = graph([("a", "b", 3.0, 1), ("c", "d", 2.0, 1), ("a", "d", 1.0, 1)],
                  fdr=[0.01, 0.02, 0.5], probability=[0.9, 0.9, 0.2])  # fmt: skip
    score = against_truth(found, TRUTH)
    assert (score["n_called"], score["false_share"]) == (2, 0.5)
    assert score["recall"] == pytest.approx(1 / 3)
    # 9 pairs at probability 0 hold one edge, two at 0.9 hold one, one at 0.2 holds one
    assert score["calibration_error"] == pytest.approx((9 * (1 / 9) + 2 * 0.4 + 0.8) / 12)


def test_judged_sources_and_targets_can_be_named():
    score = against_truth(TRUTH, TRUTH, sources=["a"], targets=["b", "c"])
    assert (score["n_pairs"], score["n_true"]) == (2, 1)
    with pytest.raises(SchemaError, match="two genes"):
        against_truth(TRUTH, TRUTH, sources=["a"], targets=["a"])


def test_calibration_error_is_small_for_honest_and_large_for_bold_probabilities():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    truth = rng.random(20_000) < p
    assert calibration_error(p, truth) < 0.02
    assert calibration_error(np.sqrt(p), truth) > 0.1
