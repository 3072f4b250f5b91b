"""Learn: the largest spread over members."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, spread, top


def spread_c(responses: Responses) -> np.ndarray:
    """Return the root mean square spread over readouts, float64 [c]."""
    m, c, g = responses.values.shape
    flat = np.nan_to_num(responses.values.astype(np.float64)).reshape(m, c * g)
    return np.sqrt((spread(flat).reshape(c, g) ** 2).mean(1))


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k conditions on which members disagree most."""
    return top(spread_c(responses), k, rng, history)


card = AcquisitionCard(
    name="uncertainty",
    summary="largest disagreement of the members",
    source="uncertainty sampling; `topuncertain` of GeneDisco (arXiv:2110.11875)",
    fn=choose,
    needs=frozenset({"members"}),
    reason="models disagree by {std:.2g}",
)
