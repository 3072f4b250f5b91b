"""The rank kernel against scipy, with ties, zeros, negatives and left-out cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from perturbkit.core.errors import SchemaError
from perturbkit.data.false_discovery import benjamini_hochberg_by_row
from perturbkit.data.ranksum import rank_sums


def check(x_ng: np.ndarray, code_n: np.ndarray, n_groups: int) -> None:
    ours = rank_sums(sparse.csr_matrix(x_ng), code_n, n_groups)
    reference = x_ng[code_n == 0].astype(np.float64)
    for p in range(n_groups):
        theirs = stats.mannwhitneyu(
            x_ng[code_n == p + 1].astype(np.float64), reference, method="asymptotic", axis=0
        )
        np.testing.assert_array_equal(ours.u_pg[p], theirs.statistic)
        expected = np.where(np.isnan(theirs.pvalue), 1.0, theirs.pvalue)
        np.testing.assert_allclose(ours.p_value_pg[p], expected, rtol=1e-10)


def test_equals_scipy_on_counts(rng: np.random.Generator) -> None:
    x = np.log1p(rng.poisson(rng.gamma(0.5, 1, 40), (300, 40))).astype(np.float32)
    x[:, 0] = 0
    check(x, rng.integers(-1, 5, 300), 4)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_equals_scipy_with_negatives_ties_and_zeros(seed: int, zeros: float) -> None:
    rng = np.random.default_rng(seed)
    code = np.concatenate([[0, 0, 1, 2], rng.integers(-1, 3, 30)])
    x = rng.integers(-3, 4, (34, 6)) * (rng.random((34, 6)) >= zeros)
    with np.errstate(invalid="ignore", divide="ignore"):
        check((x / 3).astype(np.float32), code, 2)


def test_dense_equals_sparse_and_explicit_zeros_are_zeros(rng: np.random.Generator) -> None:
    x = (rng.poisson(0.7, (60, 8)) * 1.0).astype(np.float32)
    code = np.repeat([0, 1, 2], 20)
    full = sparse.csr_matrix(np.ones_like(x))
    full.data = x.ravel().copy()
    for matrix in (x, full):
        np.testing.assert_array_equal(
            rank_sums(matrix, code, 2).p_value_pg,
            rank_sums(sparse.csc_matrix(x), code, 2).p_value_pg,
        )


def test_reference_may_come_apart(rng: np.random.Generator) -> None:
    x = (rng.poisson(0.7, (60, 8)) - rng.poisson(0.3, (60, 8))).astype(np.float32)
    code = rng.permutation(np.repeat([0, 1, 2], 20))
    whole = rank_sums(x, code, 2)
    decoy = np.vstack([x[code > 0], 9 * x[:5]])
    decoy_code = np.concatenate([code[code > 0], np.zeros(5, int)])
    apart = rank_sums(decoy, decoy_code, 2, reference_ng=x[code == 0])
    np.testing.assert_array_equal(whole.u_pg, apart.u_pg)
    np.testing.assert_array_equal(whole.p_value_pg, apart.p_value_pg)


def test_null_is_uniform_and_finds_nothing(rng: np.random.Generator) -> None:
    """Control against control: no discovery at the stated rate, p-values of every size."""
    x = rng.gamma(1, 1, (400, 500)).astype(np.float32)
    p = rank_sums(x, np.repeat([0, 1], 200), 1).p_value_pg
    assert (benjamini_hochberg_by_row(p) < 0.05).sum() <= 2
    assert stats.kstest(p[0], "uniform").pvalue > 0.01


def test_auc_is_the_probability_of_being_above(rng: np.random.Generator) -> None:
    x = np.array([[1.0], [2], [3], [2]], np.float32)
    assert rank_sums(x, np.array([0, 0, 1, 1]), 1).auc_pg.item() == pytest.approx(3.5 / 4)


def test_benjamini_hochberg_equals_scipy(rng: np.random.Generator) -> None:
    p = np.vstack([rng.random((3, 50)), np.ones(50), rng.random(50) ** 4])
    expected = np.stack([stats.false_discovery_control(row) for row in p])
    np.testing.assert_allclose(benjamini_hochberg_by_row(p), expected, rtol=1e-12)


def test_empty_groups_are_refused(rng: np.random.Generator) -> None:
    x = rng.random((4, 3)).astype(np.float32)
    with pytest.raises(SchemaError, match=r"group 2 of 0\.\.2 has no cell"):
        rank_sums(x, np.array([0, 0, 1, 1]), 2)
    with pytest.raises(SchemaError, match="codes go up to 1"):
        rank_sums(x, np.array([0, 2, 1, 1]), 1)
