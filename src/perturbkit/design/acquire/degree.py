"""Static prior: the best connected first."""

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, top


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k free conditions of largest degree.

    Raises:
        SchemaError: the history has no network.
    """
    del responses
    if history.adjacency is None:
        message = "degree needs a network over the conditions; give one, or choose another policy"
        raise SchemaError(message)
    return top(np.diff(history.adjacency.indptr).astype(float), k, rng, history)


card = AcquisitionCard(
    name="degree",
    summary="most neighbours in a network",
    source="the static baseline of every replay",
    fn=choose,
    needs=frozenset({"adjacency"}),
    reason="one of the best connected genes",
)
