"""Static prior: the largest PageRank first."""

import numpy as np
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, top

DAMPING = 0.85


def page_rank(adjacency: sparse.csr_array, n_steps: int = 50) -> np.ndarray:
    """Return the stationary share of a random walk with restarts, float64 [c]; sums to 1."""
    n = adjacency.shape[0]
    out = np.asarray(adjacency.sum(1)).ravel()
    back = sparse.csr_array(adjacency.T)
    rank = np.full(n, 1 / n)
    for _ in range(n_steps):
        stuck = rank[out == 0].sum()
        share = np.divide(rank, out, out=np.zeros(n), where=out > 0)
        rank = DAMPING * (back @ share + stuck / n) + (1 - DAMPING) / n
    return rank


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k free conditions of largest PageRank.

    Raises:
        SchemaError: the history has no network.
    """
    del responses
    if history.adjacency is None:
        message = "page_rank needs a network over the conditions; give one, or choose another"
        raise SchemaError(message)
    return top(page_rank(history.adjacency), k, rng, history)


card = AcquisitionCard(
    name="page_rank",
    summary="largest PageRank in a network",
    source="Brin & Page 1998, damping 0.85",
    fn=choose,
    needs=frozenset({"adjacency"}),
    reason="central in the network",
)
