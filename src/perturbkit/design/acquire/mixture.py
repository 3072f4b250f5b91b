"""Exploit with a share of chance: one choice in five is drawn from the whole pool."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, objective_mc, top

SHARE = 0.2
"""of a batch that is drawn by chance"""


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the largest means for four in five of the batch, the rest by chance."""
    mean = objective_mc(responses).mean(0)
    n_best = k - int(SHARE * k)
    ranked = top(mean, k, rng, history)
    best = ranked[:n_best]
    rest = np.setdiff1d(history.free, best)
    return np.concatenate([best, rng.permutation(rest)[: k - n_best]])


card = AcquisitionCard(
    name="mixture",
    summary="largest predicted objective, one in five by chance",
    source="epsilon-greedy, Sutton & Barto 2018, section 2.2",
    fn=choose,
    reason="predicted {value:.3g}, number {rank} of the pool (one in five is drawn by chance)",
)
