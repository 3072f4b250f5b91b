"""Optimism of a linear model: its prediction plus the width of its confidence ellipsoid."""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import (
    AcquisitionCard,
    History,
    objective_mc,
    places,
    top,
)

RIDGE, WIDTH = 1.0, 0.5


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Fit a ridge regression of the outcomes on the features; take the k largest upper bounds."""
    x = places(responses, history).astype(np.float64)
    seen = history.measured
    if not len(seen):
        return top(objective_mc(responses).mean(0), k, rng, history)
    x = x / max(np.sqrt(np.einsum("cd,cd->c", x, x).mean()), 1e-12)
    y = history.outcome[seen]
    mean, scale = y.mean(), max(y.std(), 1e-12)
    factor = cholesky(x[seen].T @ x[seen] + RIDGE * np.eye(x.shape[1]), lower=True)
    half = solve_triangular(factor, x.T, lower=True)
    projected = solve_triangular(factor, x[seen].T @ ((y - mean) / scale), lower=True)
    upper = half.T @ projected + WIDTH * np.sqrt(np.einsum("dc,dc->c", half, half))
    return top(upper, k, rng, history)


card = AcquisitionCard(
    name="linear_bandit",
    summary="upper confidence bound of a linear model on the features",
    source="LinUCB, Li et al. 2010 (arXiv:1003.0146)",
    fn=choose,
    reason="the largest upper bound of a linear model on the gene features",
)
