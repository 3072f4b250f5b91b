"""A Gaussian process over several networks: a kernel for each, weighed by the evidence."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtri

from perturbkit.design.knowledge import Knowledge, standard
from perturbkit.design.surrogate.card import SurrogateCard, observed

N_MEMBERS = 16
PRIOR_SLOPE = 0.4
"""Standard scores of the outcome expected for one of the static prior, before data speak."""
KERNEL, SCORE, NOISE = 0.1, 0.02, 0.7
"""Where the variances start and what they are drawn to: each kernel, the scores, the noise."""
SPREAD = 2.0
"""Standard deviation of the logarithm of a variance around where it starts."""
N_STEPS = 25
LEAST = 10
"""With fewer outcomes nothing is learned."""
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Fitted:
    """What the evidence made of the measured conditions."""

    variance_k: np.ndarray
    """of each kernel, then of each group of scores, then of the noise"""
    factor: np.ndarray
    """lower Cholesky factor of the covariance of the outcomes"""
    weight: np.ndarray
    """the inverse covariance times the outcomes less the prior's part"""


def kernels(known: Knowledge, at: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Return each kernel between conditions `at` and `rows`, float32 [at, rows], all semidefinite.

    For each embedding the cosine (pathways as a whole) and its fourth power (near relatives
    only); for each network I + A + A^2 of the scaled adjacency: itself, neighbours, theirs.
    """
    found = []
    for unit in known.units:
        cosine = unit[at] @ unit[rows].T
        found += [cosine, np.square(np.square(cosine))]
    for walk in known.walks:
        one = walk[at]
        near = (one[:, rows] + one @ walk[:, rows]).toarray().astype(np.float32)
        place = np.searchsorted(at, rows)
        inside = (place < len(at)) & (at[np.minimum(place, len(at) - 1)] == rows)
        near[place[inside], np.flatnonzero(inside)] += 1
        found.append(near)
    return found


def diagonals(known: Knowledge) -> list[np.ndarray]:
    """Return the diagonal of each kernel over the whole pool."""
    found = []
    for unit in known.units:
        present = (np.abs(unit).max(1) > 0).astype(np.float64)
        found += [present, present]
    for walk in known.walks:
        found.append(1 + np.asarray(walk.multiply(walk).sum(1)).ravel())
    return found


def _scores(known: Knowledge) -> list[np.ndarray]:
    """Return the groups of scores, each with one variance: of the pool itself, of other screens."""
    prior = known.prior_c[:, None]
    own = prior if known.scores_cs is None else np.concatenate([prior, known.scores_cs], 1)
    return [own] if known.others_cs is None else [own, known.others_cs]


def weigh(matrices: list[np.ndarray], residual: np.ndarray, n_scores: int = 1) -> Fitted:
    """Find the variances of the largest evidence (with log-normal priors) by its gradient.

    Args:
        matrices: kernels among the measured conditions, those of scores last.
        residual: outcomes less the prior's part.
        n_scores: how many are of scores.
    """
    n, n_kernels = len(residual), len(matrices) - n_scores
    start = np.log(np.r_[np.full(n_kernels, KERNEL), np.full(n_scores, SCORE), NOISE])

    def loss(log_variance: np.ndarray) -> tuple[float, np.ndarray]:
        variance = np.exp(log_variance)
        factor = _factor(matrices, variance)
        weight = cho_solve((factor, True), residual)
        slope = cho_solve((factor, True), np.eye(n)) - np.outer(weight, weight)
        value = 0.5 * residual @ weight + np.log(np.diag(factor)).sum()
        parts = [np.vdot(slope, m) for m in matrices]
        away = (log_variance - start) / SPREAD**2
        return (
            float(value + 0.5 * away @ (log_variance - start)),
            0.5 * variance * np.r_[parts, np.trace(slope)] + away,
        )

    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-14.0, 4.0)] * len(start),
                    options={"maxiter": N_STEPS})  # fmt: skip
    variance = np.exp(best.x)
    factor = _factor(matrices, variance)
    return Fitted(variance, factor, cho_solve((factor, True), residual))


def _factor(matrices: list[np.ndarray], variance_k: np.ndarray) -> np.ndarray:
    # the level of the outcomes is unknown: a constant of variance 1
    n = len(matrices[0])
    total = np.ones((n, n)) + (variance_k[-1] + 1e-6) * np.eye(n)
    for m, v in zip(matrices, variance_k[:-1], strict=True):
        total += v * m
    return cholesky(total, lower=True)


def posterior(known: Knowledge, outcome_c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the standardised outcome, float64 [c] each."""
    rows, y = observed(outcome_c)
    scores = _scores(known)
    expected = PRIOR_SLOPE * known.prior_c
    inner = [k.astype(np.float64) for k in kernels(known, rows, rows)]
    inner += [g[rows] @ g[rows].T for g in scores]
    fitted = weigh(inner, standard(y) - expected[rows], len(scores))
    share, of_scores = np.split(fitted.variance_k[:-1], [len(inner) - len(scores)])
    n = len(expected)
    whole = sum((v * d for v, d in zip(share, diagonals(known), strict=True)), np.ones(n))
    whole = whole + sum(
        v * np.einsum("cs,cs->c", g, g) for v, g in zip(of_scores, scores, strict=True)
    )
    mean, variance = np.empty(n), np.empty(n)
    lower = fitted.factor.astype(np.float32)
    for start in range(0, n, _BLOCK):
        at = np.arange(start, min(start + _BLOCK, n))
        linear = np.zeros((len(at), len(rows)))
        for v, g in zip(of_scores, scores, strict=True):
            linear += v * (g[at] @ g[rows].T)
        cross = (1 + linear).astype(np.float32)
        for v, k in zip(share, kernels(known, at, rows), strict=True):
            cross += np.float32(v) * k
        mean[at] = expected[at] + cross @ fitted.weight
        half = solve_triangular(lower, cross.T, lower=True)
        variance[at] = whole[at] - np.einsum("rc,rc->c", half, half)
    return mean, np.sqrt(np.maximum(variance, 1e-9))


def members(mean_c: np.ndarray, deviation_c: np.ndarray, n: int = N_MEMBERS) -> np.ndarray:
    """Return n functions whose mean and spread at each condition are exactly those given.

    They are the normal quantiles of every condition, so between conditions they move together.
    """
    z = ndtri((np.arange(n) + 0.5) / n)
    return mean_c + (z / z.std(ddof=1))[:, None] * deviation_c


def fit(knowledge: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sixteen quantiles of the posterior of each condition, [16, c]."""
    del rng
    rows, y = observed(outcome_c)
    if len(rows) < LEAST or y.std() == 0:
        level = y.mean() if len(rows) else 0.0
        return np.repeat(level + 1e-3 * knowledge.prior_c[None], N_MEMBERS, 0)
    mean, deviation = posterior(knowledge, outcome_c)
    return y.mean() + y.std() * members(mean, deviation)


card = SurrogateCard(
    name="graph_kernels",
    summary="Gaussian process over all networks together, each weighed by the evidence",
    source="Rasmussen & Williams 2006, section 5.4; Smola & Kondor 2003 (kernels on graphs)",
    fn=fit,
)
