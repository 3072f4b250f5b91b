"""Bayesian linear regression on the features; members are draws from its posterior."""

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from perturbkit.design.knowledge import Knowledge, standard
from perturbkit.design.surrogate.card import SurrogateCard, observed

N_MEMBERS = 16
RATIOS = (1.0, 10.0, 100.0, 1000.0)
"""Noise over prior variance of a weight; the likeliest is used."""


def evidence(gram: np.ndarray, y: np.ndarray, ratio: float) -> float:
    """Return the log marginal likelihood of centred outcomes, up to a constant, scale fitted.

    Args:
        gram: inner products of the measured conditions' features.
        y: outcomes.
        ratio: noise over prior variance of a weight.
    """
    factor = cholesky(gram / ratio + np.eye(len(y)), lower=True)
    z = solve_triangular(factor, y, lower=True)
    return float(-0.5 * len(y) * np.log(z @ z) - np.log(np.diag(factor)).sum())


def fit(knowledge: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sixteen draws of the posterior mean function, in opposite pairs, [16, c].

    Pairs, so that the mean over members is the posterior's mean and not blurred by the draws.
    """
    x, prior = knowledge.scaled_cd, knowledge.prior_c[:, None]
    rows, y = observed(outcome_c)
    if len(rows) < 2 or y.std() == 0:
        return np.full((N_MEMBERS, len(x)), y.mean() if len(rows) else 0.0)
    target, seen = standard(y), np.concatenate([x[rows], prior[rows]], 1)
    gram = seen @ seen.T
    ratio = max(RATIOS, key=lambda r: evidence(gram, target, r))
    factor = cholesky(seen.T @ seen + ratio * np.eye(seen.shape[1]), lower=True)
    centre = cho_solve((factor, True), seen.T @ target)
    noise = np.sqrt(np.mean((target - seen @ centre) ** 2))
    shake = rng.standard_normal((len(centre), N_MEMBERS // 2))
    shake = noise * solve_triangular(factor, shake, lower=True, trans="T")
    weight = centre[:, None] + np.concatenate([shake, -shake], 1)
    return y.mean() + y.std() * (x @ weight[:-1] + prior * weight[-1]).T


card = SurrogateCard(
    name="bayes_ridge",
    summary="Bayesian linear regression on network features",
    source="Bishop 2006, section 3.5; the ratio of variances by evidence",
    fn=fit,
)
