"""Information about the model, each condition for itself."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, top
from perturbkit.design.acquire.uncertainty import spread_c


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k largest mutual informations log(1 + variance / noise) / 2."""
    return top(0.5 * np.log1p(spread_c(responses) ** 2 / history.noise), k, rng, history)


card = AcquisitionCard(
    name="bald",
    summary="most informative about the model, one by one",
    source="Houlsby et al. 2011 (arXiv:1112.5745), normal outcomes of equal noise",
    fn=choose,
    needs=frozenset({"members"}),
    reason="tells most about the model: members disagree by {std:.2g}",
)
