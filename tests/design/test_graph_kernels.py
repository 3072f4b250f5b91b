"""The Gaussian process over networks against scikit-learn, and its parts by hand."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from perturbkit.core.errors import SchemaError
from perturbkit.design.knowledge import Knowledge
from perturbkit.design.surrogate.graph_kernels import (
    PRIOR_SLOPE,
    diagonals,
    kernels,
    members,
    posterior,
    weigh,
)


def known_of(n=60, seed=0):
    rng = np.random.default_rng(seed)
    a = np.triu(rng.random((n, n)) < 0.1, 1)
    network = sparse.csr_array((a | a.T).astype(np.float32))
    x = rng.normal(size=(n, 5)).astype(np.float32)
    x[:3] = 0
    prior = rng.normal(size=n)
    return Knowledge(x, {"net": network}, prior, (), (x,), rng.normal(size=(n, 2)))


def test_kernels_are_semidefinite_and_their_diagonals_are_right():
    known = known_of()
    every = np.arange(60)
    for k, d in zip(kernels(known, every, every), diagonals(known),
                    strict=True):  # fmt: skip
        assert np.allclose(k, k.T, atol=1e-5)
        assert np.linalg.eigvalsh(k.astype(float)).min() > -1e-4
        assert np.allclose(np.diag(k), d, atol=1e-5)
    some = np.array([3, 10, 59])
    parts = kernels(known, np.arange(50, 60), some)
    whole = kernels(known, every, some)
    assert all(np.allclose(p, w[50:], atol=1e-6) for p, w in zip(parts, whole, strict=True))


def test_the_posterior_is_that_of_scikit_learn_for_the_same_covariance():
    known = known_of()
    assert known.scores_cs is not None
    outcome = np.where(np.arange(60) < 30, known.prior_c + known.scores_cs[:, 0], np.nan)
    mean, deviation = posterior(known, outcome)
    rows, every = np.arange(30), np.arange(60)
    y = (outcome[:30] - outcome[:30].mean()) / outcome[:30].std()
    scores = np.concatenate([known.prior_c[:, None], known.scores_cs], 1)
    inner = [k.astype(float) for k in kernels(known, rows, rows)]
    expected = PRIOR_SLOPE * known.prior_c
    fitted = weigh([*inner, scores[:30] @ scores[:30].T], y - expected[:30])
    total = np.ones((60, 60)) + fitted.variance_k[-2] * scores @ scores.T
    for k, v in zip(kernels(known, every, every), fitted.variance_k, strict=False):
        total += v * k

    class Fixed(RBF):
        def __call__(self, a, b=None, eval_gradient=False):
            b = a if b is None else b
            return total[np.ix_(a[:, 0].astype(int), b[:, 0].astype(int))]

        def diag(self, a):
            return np.diag(total)[a[:, 0].astype(int)]

    noise = fitted.variance_k[-1] + 1e-6
    oracle = GaussianProcessRegressor(Fixed(), alpha=noise, optimizer=None)
    oracle.fit(rows[:, None], y - expected[:30])
    right, spread = oracle.predict(every[:, None], return_std=True)
    assert np.allclose(mean, expected + right, atol=1e-3)
    assert np.allclose(deviation, spread, atol=1e-2)


def test_the_evidence_finds_the_kernel_that_made_the_outcomes():
    rng = np.random.default_rng(0)
    n = 150
    groups, noise = rng.integers(10, size=n), rng.integers(10, size=n)
    made = [(g[:, None] == g).astype(float) for g in (groups, noise)]
    y = rng.normal(size=10)[groups] + 0.3 * rng.normal(size=n)
    found = weigh([*made, np.eye(n) * 1e-9], (y - y.mean()) / y.std())
    assert found.variance_k[0] > 10 * found.variance_k[1]


def test_members_have_exactly_the_mean_and_spread():
    mean, deviation = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    drawn = members(mean, deviation)
    assert drawn.mean(0) == pytest.approx(mean)
    assert drawn.std(0, ddof=1) == pytest.approx(deviation)


def test_expressed_genes_enter_the_prior_and_a_list_of_nothing_is_refused():
    known = known_of()
    pool = [f"G{i}" for i in range(60)]
    more = known.with_expressed("blood", pool[:20], pool)
    assert more.prior_c[:20].mean() > known.prior_c[:20].mean()
    assert more.scores_cs is not None
    assert more.scores_cs.shape == (60, 3)
    assert more.says[-1] == "blood"
    with pytest.raises(SchemaError, match="none or all"):
        known.with_expressed("blood", ["nope"], pool)


def test_a_screen_of_another_readout_counts_as_much_as_the_outcomes_say():
    rng = np.random.default_rng(1)
    known = known_of(200)
    size = rng.normal(size=200)
    size[150:160] = np.nan
    more = known.with_other("tau", size)
    assert np.array_equal(more.prior_c, known.prior_c)
    assert more.others_cs is not None
    assert (more.others_cs[150:160] == 0).all()
    twice = more.with_other("nk", rng.normal(size=200)).select(np.arange(50))
    assert twice.others_cs is not None
    assert twice.others_cs.shape == (50, 2)
    outcome = np.where(np.arange(200) < 80, np.nan_to_num(size), np.nan)
    unseen = np.r_[80:150, 160:200]

    def agreement(k: Knowledge, shown: np.ndarray) -> float:
        return float(np.corrcoef(posterior(k, shown)[0][unseen], size[unseen])[0, 1])

    assert agreement(more, outcome) > max(0.8, agreement(known, outcome) + 0.5)
    # outcomes that have nothing to do with it leave it next to no weight
    other = np.where(np.arange(200) < 80, known.prior_c, np.nan)
    assert abs(agreement(more, other)) < 0.3
    with pytest.raises(SchemaError, match="none of the pool"):
        known.with_other("x", np.full(200, np.nan))
