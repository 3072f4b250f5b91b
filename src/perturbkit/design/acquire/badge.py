"""Uncertain and diverse: k-means++ on features scaled by the disagreement of members."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import (
    AcquisitionCard,
    History,
    places,
    require,
    square_distance,
)
from perturbkit.design.acquire.uncertainty import spread_c


def seeds(x_cd: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Choose k rows by k-means++ seeding, the longest first."""
    norm = np.einsum("cd,cd->c", x_cd, x_cd)
    chosen = np.zeros(k, np.int64)
    chosen[0] = int(np.argmax(norm))
    left = square_distance(x_cd, x_cd[chosen[0]], norm).astype(np.float64)
    for i in range(1, k):
        left[chosen[:i]] = 0
        total = left.sum()
        if total <= 0:
            rest = np.setdiff1d(np.arange(len(x_cd)), chosen[:i])
            chosen[i:] = rng.permutation(rest)[: k - i]
            break
        chosen[i] = min(int(np.searchsorted(np.cumsum(left), rng.random() * total)), len(left) - 1)
        left = np.minimum(left, square_distance(x_cd, x_cd[chosen[i]], norm))
    return chosen


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take k-means++ seeds of the gradient embeddings: features times the spread of members."""
    free = require(k, history)
    x = places(responses, history)[free]
    return free[seeds(x * spread_c(responses)[free, None].astype(np.float32), k, rng)]


card = AcquisitionCard(
    name="badge",
    summary="uncertain and diverse: k-means++ on gradient embeddings",
    source="Ash et al. 2020 (arXiv:1906.03671); for regression the residual is the spread",
    fn=choose,
    needs=frozenset({"members"}),
    reason="uncertain by {std:.2g} and unlike the rest of the batch",
)
