"""Networks joined: the odds of one raised by another, and the mean rank of several."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.grn.assemble import graph_of_scores


def supported(graph: Graph, support: Graph, *, gain: float = 2.0) -> Graph:
    """Raise the weight of edges that another network has too: a prior, a time series, a database.

    Weights are multiplied, probabilities' odds as well, by exp(gain x share), where share is the
    other network's weight over its largest. No edge is added, and none is lowered: absence from a
    database says little. The other network's direction counts where it has one.

    Args:
        graph: the inferred network; a column `fdr` is dropped, for it no longer holds.
        support: the other network; its nodes are matched by name.
        gain: log odds that the strongest edge of `support` adds.
    """
    place = support.nodes.find(graph.nodes)
    a, b = place[graph.source], place[graph.target]
    here = (a >= 0) & (b >= 0)
    share = np.zeros(graph.n_edges)
    largest = max(float(support.weight.max(initial=0.0)), 1e-12)
    found = support.adjacency[a[here], b[here]]
    share[here] = np.asarray(found).ravel() / largest
    factor = np.exp(gain * share)
    columns = {k: v for k, v in graph.columns.items() if k != "fdr"}
    if "probability" in columns:
        p = np.asarray(columns["probability"], np.float64)
        columns["probability"] = (p * factor / (1 - p + p * factor)).astype(np.float32)
    name = f"{graph.provenance.name} with {support.provenance.name or 'support'}"
    return replace(graph, weight=graph.weight * factor, columns=columns,
                   provenance=replace(graph.provenance, name=name))  # fmt: skip


def mean_rank(graphs: Sequence[Graph]) -> Graph:
    """Return the edges of several networks, weighted by their mean rank from the top.

    A weight is the mean over networks of the share of pairs that rank below; a pair that a
    network does not have ranks below all it has. The sign is that of the weighted majority.

    Args:
        graphs: networks over the same node names.

    Raises:
        SchemaError: none is given, or nodes differ.

    Source:
        Average rank of Marbach et al. 2012, doi:10.1038/nmeth.2016 ("wisdom of crowds").
    """
    if not graphs:
        message = "found no network; at least one is needed to average ranks: give more"
        raise SchemaError(message)
    nodes = graphs[0].nodes
    if any(set(g.nodes) != set(nodes) for g in graphs):
        message = "the networks have different nodes; restrict them with Graph.within first"
        raise SchemaError(message)
    n = len(nodes)
    rank, sign = np.zeros((n, n)), np.zeros((n, n))
    for graph in graphs:
        share, signed = ranks_of(graph.within(nodes))
        rank += share / len(graphs)
        sign += signed * share
    signs = np.where(sign < 0, -1.0, 1.0)
    result = graph_of_scores(rank * signs, nodes, nodes, name="mean_rank")
    names = " + ".join(g.provenance.name for g in graphs)
    return replace(result, provenance=Provenance(name=f"mean_rank of {names}"))


def ranks_of(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Return for each ordered pair the share of pairs ranked below, and its sign, [n, n]."""
    from scipy.stats import rankdata

    n = len(graph.nodes)
    share, sign = np.zeros((n, n)), np.zeros((n, n))
    below = n * (n - 1) - graph.n_edges
    value = (below + rankdata(graph.weight) - 0.5) / max(n * (n - 1), 1)
    share[graph.source, graph.target], sign[graph.source, graph.target] = value, graph.sign
    if not graph.directed:
        share, sign = np.maximum(share, share.T), sign + sign.T
    return share, sign
