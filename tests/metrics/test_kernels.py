"""Kernels against independent libraries and against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn import metrics as sk

from perturbkit.metrics.discrimination import distances, mid_rank_score
from perturbkit.metrics.pearson import pearson_rows
from perturbkit.metrics.r2 import r2_rows
from perturbkit.metrics.rmse import mean_measured
from perturbkit.metrics.top_k_overlap import top_k_overlap


@pytest.fixture
def two(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.normal(3, 1, (20, 70)).astype(np.float32)
    return truth, (truth + rng.normal(0, 1, truth.shape)).astype(np.float32)


def test_pearson_equals_scipy(two) -> None:
    expected = [stats.pearsonr(t, p).statistic for t, p in zip(*two, strict=True)]
    np.testing.assert_allclose(pearson_rows(*two), expected, rtol=1e-6)


def test_pearson_over_measured_readouts_equals_scipy(two, rng: np.random.Generator) -> None:
    truth, predicted = two
    truth = np.where(rng.random(truth.shape) < 0.3, np.nan, truth).astype(np.float32)
    kept = [~np.isnan(t) for t in truth]
    expected = [
        stats.pearsonr(t[k], p[k]).statistic for t, p, k in zip(truth, predicted, kept, strict=True)
    ]
    np.testing.assert_allclose(pearson_rows(truth, predicted), expected, rtol=1e-6)


def test_pearson_of_constants() -> None:
    """A constant prediction scores 0, also if it is constant up to float32 rounding."""
    truth = np.array([[1.0, 2, 3], [2, 2, 2], [1, 2, 3]], np.float32)
    predicted = np.array([[0.1, 0.1, 0.1], [1, 2, 3], [0.3, 0.1 + 0.2, 0.3]], np.float32)
    np.testing.assert_array_equal(pearson_rows(truth, predicted), [0, np.nan, 0])


def test_r2_equals_sklearn(two) -> None:
    expected = [sk.r2_score(t.astype(float), p) for t, p in zip(*two, strict=True)]
    np.testing.assert_allclose(r2_rows(*two), expected, rtol=1e-6)
    assert np.isnan(r2_rows(np.ones((1, 5)), np.zeros((1, 5)))).all()


def test_errors_equal_sklearn(two) -> None:
    truth, predicted = two
    mse = mean_measured(np.square(predicted - truth))
    np.testing.assert_allclose(
        mse, [sk.mean_squared_error(t, p) for t, p in zip(*two, strict=True)], rtol=1e-6
    )
    assert np.isnan(mean_measured(np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize(
    ("kind", "metric"), [("l1", "cityblock"), ("l2", "sqeuclidean"), ("cosine", "cosine")]
)
def test_distances_equal_scipy(two, kind, metric) -> None:
    truth, predicted = two
    skip = [np.array([c]) for c in range(20)]
    ours = distances(predicted, truth, kind, skip)
    for c in range(20):
        kept = np.arange(70) != c
        theirs = cdist(predicted[[c]][:, kept].astype(float), truth[:, kept].astype(float), metric)
        theirs = theirs if kind == "cosine" else theirs / 69
        np.testing.assert_allclose(ours[c], theirs[0], rtol=1e-5)


def test_mid_rank_by_hand() -> None:
    distance = np.array([[1.0, 2, 3], [1, 1, 1], [0, 2, 2], [1, np.nan, np.nan]])
    own = np.array([0, 1, 2, 0])
    np.testing.assert_allclose(mid_rank_score(distance, own), [1, 0.5, 0.25, np.nan])


def test_random_predictions_discriminate_at_one_half(rng: np.random.Generator) -> None:
    distance = rng.random((2000, 30))
    assert abs(mid_rank_score(distance, rng.integers(0, 30, 2000)).mean() - 0.5) < 0.02


def test_overlap_by_hand() -> None:
    truth = np.array([[5.0, -4, 3, 0, 0, 0]] * 4)
    predicted = np.array([
        [-9, 8, 0.5, 0, 0, 0],  # signs do not count here
        [0, 0, 0, 1, 2, 3],
        [0, 0, 0, 0, 0, 0],  # no change: chance, 3 of 6
        [7, 1, 1, 1, 1, 0],  # four share two places
    ])  # fmt: skip
    np.testing.assert_allclose(top_k_overlap(truth, predicted, 3), [1, 0, 0.5, 2 / 3])
    assert np.isnan(top_k_overlap(truth, predicted, 6)).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 3))
def test_overlap_with_ties_is_symmetric_and_bounded(seed: int, k: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, levels + 1, (2, 4, 10)).astype(float)
    ab = top_k_overlap(a, b, k)
    np.testing.assert_allclose(ab, top_k_overlap(b, a, k))
    assert ((ab >= 0) & (ab <= 1 + 1e-12)).all()
    np.testing.assert_allclose(top_k_overlap(a, a, k), 1)
