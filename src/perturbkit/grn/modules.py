"""Modules of a network: groups of genes joined more than chance would join them."""

import numpy as np

from perturbkit.core.graph import Graph

MIN_SIZE = 5
"""Smaller groups are no modules."""


def modules(graph: Graph, rng: np.random.Generator, *, min_size: int = MIN_SIZE) -> dict[str, list]:
    """Return groups of genes, largest first, named M1, M2, ...

    Args:
        graph: directions are ignored, weights count.
        rng: draws the order in which genes are visited.
        min_size: smaller groups are left out.

    Source:
        Louvain communities, Blondel et al. 2008, doi:10.1088/1742-5468/2008/10/P10008.
    """
    import networkx as nx

    names = graph.nodes.names
    network = nx.Graph()
    for a, b, w in zip(graph.source, graph.target, graph.weight, strict=True):
        pair = (names[a], names[b])
        before = network.get_edge_data(*pair, default={"weight": 0.0})["weight"]
        network.add_edge(*pair, weight=max(before, float(w)))
    found = nx.community.louvain_communities(network, seed=int(rng.integers(2**31)))
    kept = sorted((sorted(g) for g in found if len(g) >= min_size), key=lambda g: (-len(g), g))
    return {f"M{i + 1}": genes for i, genes in enumerate(kept)}
