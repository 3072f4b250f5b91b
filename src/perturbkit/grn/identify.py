"""Upstream regulators by a network: which gene was perturbed, given only the response?"""

from typing import Any

import numpy as np
from scipy.stats import rankdata

from perturbkit.core.graph import Graph
from perturbkit.grn.effects import Effects
from perturbkit.grn.knockout_z import activity_sign


def identify(graph: Graph, effects: Effects, *, k: int = 5) -> dict[str, Any]:
    """Return how high a network ranks the gene that was truly perturbed behind each response.

    A candidate's expected response is its row of the network, signed and turned by the kind of
    perturbation; candidates are ranked by its cosine with the response in standard errors. The
    perturbed gene's own readout is left out of its response, which would give it away. Ties share
    their mean rank, so that a network without an edge scores as chance does.

    Args:
        graph: the network; without signs the sizes of responses are compared.
        effects: responses measured in cells that the network has not seen.
        k: the rank that still counts for recall.

    Returns:
        `n_responses`, `recall_at_1`, `recall_at_k`, `mean_reciprocal_rank`, and
        `chance_reciprocal_rank`, that of a shuffled list.
    """
    p = len(effects.sources)
    own, z = effects.own_p, effects.z_pg.copy()
    measured = np.flatnonzero(own >= 0)
    z[measured, own[measured]] = 0.0
    expected = _expected(graph, effects)
    if not graph.sign.any():
        z = np.abs(z)
    size = np.sqrt((expected**2).sum(1))
    dot = z @ expected.T
    cosine = np.divide(dot, size, out=np.zeros_like(dot), where=size > 0)
    # ties at the rounding of a sum are ties
    rank = np.array([rankdata(-np.round(row, 9))[i] for i, row in enumerate(cosine)])
    return {
        "n_responses": p,
        "recall_at_1": float((rank <= 1).mean()),
        f"recall_at_{k}": float((rank <= k).mean()),
        "mean_reciprocal_rank": float((1 / rank).mean()),
        "chance_reciprocal_rank": float((1 / np.arange(1, p + 1)).mean()),
    }


def _expected(graph: Graph, effects: Effects) -> np.ndarray:
    """Return what each candidate's perturbation does by the network's edges, [p, g]."""
    row, column = graph.nodes.find(effects.sources), graph.nodes.find(effects.readouts)
    place = np.full(len(graph.nodes), -1)
    place[column[column >= 0]] = np.flatnonzero(column >= 0)
    source = np.full(len(graph.nodes), -1)
    source[row[row >= 0]] = np.flatnonzero(row >= 0)
    result = np.zeros((len(effects.sources), len(effects.readouts)))
    sign = np.where(graph.sign == 0, 1, graph.sign) if graph.sign.any() else np.ones(graph.n_edges)
    ends = [(graph.source, graph.target)]
    if not graph.directed:
        ends.append((graph.target, graph.source))
    for a, b in ends:
        i, j = source[a], place[b]
        here = (i >= 0) & (j >= 0)
        result[i[here], j[here]] = (graph.weight * sign)[here]
    return result * activity_sign(effects.kind_p)[:, None] if graph.sign.any() else result
