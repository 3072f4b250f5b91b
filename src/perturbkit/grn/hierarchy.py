"""The order of a network: who stands above whom, and how well an inferred order agrees."""

from typing import Any

import numpy as np
from scipy.stats import kendalltau

from perturbkit.core.graph import Graph
from perturbkit.grn.evaluate import auroc
from perturbkit.grn.statistical import reachable


def heights(adjacency: np.ndarray) -> np.ndarray:
    """Return how far each node stands above its targets: larger is further upstream.

    Solves for the heights of which each edge should go down by one, weighted least squares; a
    cycle shares what it can. Nodes without an edge are at 0.

    Args:
        adjacency: weights [source, target], not negative.

    Source:
        Trophic coherence, MacKay, Johnson & Sansom 2020, doi:10.1098/rsos.201138, equation 2.4,
        upside down.
    """
    weights = np.asarray(adjacency, np.float64)
    out, into = weights.sum(1), weights.sum(0)
    laplacian = np.diag(out + into) - weights - weights.T
    level = np.linalg.lstsq(laplacian, out - into, rcond=None)[0]
    connected = (out + into) > 0
    # nodes of one height are equal, not a rounding apart
    return np.where(connected, np.round(level, 9), 0.0)


def against_hierarchy(
    graph: Graph, truth: Graph, levels: np.ndarray | None = None
) -> dict[str, Any]:
    """Compare the order of an inferred network with the true one.

    Args:
        graph: the inferred network, edges that are called only.
        truth: the known network.
        levels: the true level of each of the truth's nodes, 0 at the top; by default its heights.

    Returns:
        `kendall_tau` between inferred heights and true levels of the nodes that the inferred
        network connects (1 is the true order), its `p_value` and `n_nodes`; `ancestor_auroc`, the
        chance that the difference of heights ranks a true ancestor's pair above one of two nodes
        that no path joins.
    """
    nodes = truth.nodes
    weights = graph.within(nodes).adjacency.toarray()
    height = heights(weights)
    true_height = heights(truth.adjacency.toarray()) if levels is None else -np.asarray(levels)
    connected = (weights.sum(0) + weights.sum(1)) > 0
    result: dict[str, Any] = {"n_nodes": int(connected.sum())}
    if connected.sum() < 3:
        return result | {"kendall_tau": np.nan, "p_value": np.nan, "ancestor_auroc": np.nan}
    found = kendalltau(height[connected], true_height[connected])
    above = reachable(truth.adjacency.toarray() > 0)
    neither = ~above & ~above.T
    judged = (above ^ neither) & np.outer(connected, connected) & ~np.eye(len(nodes), dtype=bool)
    difference = height[:, None] - height[None]
    return result | {
        "kendall_tau": float(found.statistic),
        "p_value": float(found.pvalue),
        "ancestor_auroc": auroc(difference[judged], above[judged]),
    }
