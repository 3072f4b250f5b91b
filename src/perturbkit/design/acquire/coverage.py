"""Coverage of a network: conditions whose neighbourhoods together reach most of it."""

import heapq

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, require


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Greedily cover the network: each choice adds most nodes not yet within one step.

    Lazy greedy: gains only fall (the objective is submodular), so most need no second look.

    Raises:
        SchemaError: the history has no network.
    """
    del responses
    free = require(k, history)
    if history.adjacency is None:
        message = "coverage needs a network over the conditions; give one, or choose another policy"
        raise SchemaError(message)
    start, column = history.adjacency.indptr, history.adjacency.indices
    covered = history.taken.copy()
    for node in np.flatnonzero(history.taken):
        covered[column[start[node] : start[node + 1]]] = True
    tie = rng.random(len(covered))
    heap = [(-float(start[i + 1] - start[i] + 1), tie[i], int(i)) for i in free]
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < k:
        _, _, node = heapq.heappop(heap)
        reach = column[start[node] : start[node + 1]]
        gain = float((~covered[reach]).sum() + (not covered[node]))
        if heap and -gain > heap[0][0]:
            heapq.heappush(heap, (-gain, tie[node], node))
            continue
        chosen.append(node)
        covered[reach] = True
        covered[node] = True
    return np.array(chosen, np.int64)


card = AcquisitionCard(
    name="coverage",
    summary="neighbourhoods that together cover most of a network",
    source="submodular one-shot design, arXiv:2503.14571",
    fn=choose,
    needs=frozenset({"adjacency"}),
    reason="its neighbours were not covered yet",
)
