"""Chance: the policy every other one is compared with."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, require


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Draw k free conditions without replacement."""
    del responses
    return rng.permutation(require(k, history))[:k]


card = AcquisitionCard(
    name="random",
    summary="any condition, by chance",
    source="the reference of every replay",
    fn=choose,
    reason="drawn by chance",
)
