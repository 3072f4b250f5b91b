"""Exploit: the largest predicted objective."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, objective_mc, top


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k largest means over members."""
    return top(objective_mc(responses).mean(0), k, rng, history)


card = AcquisitionCard(
    name="greedy",
    summary="largest predicted objective",
    source="Mean predicted effect (MPE) of NAIAD, Qin et al. 2025",
    fn=choose,
    reason="predicted {value:.3g}, number {rank} of the pool",
)
