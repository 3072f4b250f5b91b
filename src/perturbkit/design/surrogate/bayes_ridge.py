"""Bayesian linear regression on the features; members are draws from its posterior."""

import numpy as np

from perturbkit.design.knowledge import Knowledge, standard
from perturbkit.design.surrogate.card import SurrogateCard, observed

N_MEMBERS = 16
RATIOS = (1.0, 10.0, 100.0, 1000.0)
"""Noise over prior variance of a weight; the likeliest is used."""


def evidence(x: np.ndarray, y: np.ndarray, ratio: float) -> float:
    """Return the log marginal likelihood of centred outcomes, up to a constant, scale fitted."""
    k = x @ x.T / ratio + np.eye(len(y))
    factor = np.linalg.cholesky(k)
    z = np.linalg.solve(factor, y)
    return float(-0.5 * len(y) * np.log(z @ z) - np.log(np.diag(factor)).sum())


def fit(knowledge: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sixteen draws of the posterior mean function, [16, c]."""
    x = np.concatenate([knowledge.scaled_cd, knowledge.prior_c[:, None]], 1)
    rows, y = observed(outcome_c)
    if len(rows) < 2 or y.std() == 0:
        return np.full((N_MEMBERS, len(x)), y.mean() if len(rows) else 0.0)
    mean, unit = y.mean(), y.std()
    target, seen = standard(y), x[rows]
    ratio = max(RATIOS, key=lambda r: evidence(seen, target, r))
    factor = np.linalg.cholesky(seen.T @ seen + ratio * np.eye(x.shape[1]))
    centre = np.linalg.solve(factor.T, np.linalg.solve(factor, seen.T @ target))
    noise = np.sqrt(np.mean((target - seen @ centre) ** 2))
    shake = np.linalg.solve(factor.T, rng.standard_normal((x.shape[1], N_MEMBERS)))
    return mean + unit * (x @ (centre[:, None] + noise * shake)).T


card = SurrogateCard(
    name="bayes_ridge",
    summary="Bayesian linear regression on network features",
    source="Bishop 2006, section 3.5; the ratio of variances by evidence",
    fn=fit,
)
