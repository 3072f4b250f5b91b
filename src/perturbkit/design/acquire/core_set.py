"""Coverage: each choice is the condition farthest from all that were ever chosen."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import (
    AcquisitionCard,
    History,
    places,
    require,
    square_distance,
)


def farthest_first(
    x_cd: np.ndarray, k: int, free: np.ndarray, taken: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Choose k of `free`, each the farthest from everything taken so far (all rounds)."""
    norm = np.einsum("cd,cd->c", x_cd, x_cd)
    nearest = np.full(len(x_cd), np.inf, np.float32)
    for start in range(0, len(taken), 256):
        block = x_cd[taken[start : start + 256]]
        inner = norm[:, None] - 2 * (x_cd @ block.T) + np.einsum("cd,cd->c", block, block)
        nearest = np.minimum(nearest, np.maximum(inner.min(1), 0))
    open_ = np.zeros(len(x_cd), bool)
    open_[free] = True
    chosen = np.zeros(k, np.int64)
    for i in range(k):
        first = not len(taken) and i == 0
        score = np.where(open_, nearest, -1)
        best = int(rng.choice(free)) if first else int(np.argmax(score))
        chosen[i], open_[best] = best, False
        nearest = np.minimum(nearest, square_distance(x_cd, x_cd[best], norm))
    return chosen


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k-centre greedy solution given everything chosen in all earlier rounds."""
    free = require(k, history)
    return farthest_first(places(responses, history), k, free, np.flatnonzero(history.taken), rng)


card = AcquisitionCard(
    name="core_set",
    summary="farthest from everything chosen so far",
    source="Sener & Savarese 2018 (arXiv:1708.00489); cumulative, unlike GeneDisco's code",
    fn=choose,
    reason="far from everything chosen so far",
)
