"""Optimism: mean plus a multiple of the spread over members."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, objective_mc, spread, top

WEIGHT = 1.0


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k largest of mean + 1.0 x standard deviation."""
    values = objective_mc(responses)
    return top(values.mean(0) + WEIGHT * spread(values), k, rng, history)


card = AcquisitionCard(
    name="ucb",
    summary="mean plus spread of the predicted objective",
    source="Srinivas et al. 2010 (arXiv:0912.3995), constant weight 1",
    fn=choose,
    needs=frozenset({"members"}),
    reason="predicted {value:.3g}, uncertain by {std:.2g}",
)
