"""Networks joined: the odds of one raised by another, and the mean rank of several."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.data.false_discovery import bayesian_fdr
from perturbkit.grn.assemble import graph_of_scores

MAX_GAIN = 3.0
"""The most log odds that a database may add: one that agrees with chance agrees with nothing."""
MIN_SUPPORTED = 20.0
"""Weight, in pairs, of no gain at all against what the data say of a database."""


def supported(graph: Graph, support: Graph, *, gain: float = 2.0) -> Graph:
    """Raise the weight of edges that another network has too: a prior, a time series, a database.

    Weights are multiplied, probabilities' odds as well, by exp(gain x share), where share is the
    other network's weight over its largest. No edge is added, and none is lowered: absence from a
    database says little. The other network's direction counts where it has one.

    Args:
        graph: the inferred network. Its false discovery rates are taken anew from the
            probabilities, never below those of the effects (`effect_fdr`), which a database
            cannot change; without that column `fdr` is dropped.
        support: the other network; its nodes are matched by name.
        gain: log odds that the strongest edge of `support` adds.
    """
    factor = np.exp(gain * shares_of(graph, support))
    columns = {k: v for k, v in graph.columns.items() if k != "fdr"}
    if "probability" in columns:
        p = np.asarray(columns["probability"], np.float64)
        columns["probability"] = (p * factor / (1 - p + p * factor)).astype(np.float32)
        if "effect_fdr" in columns:
            rate = bayesian_fdr(columns["probability"])
            columns["fdr"] = np.maximum(rate, columns["effect_fdr"]).astype(np.float32)
    name = f"{graph.provenance.name} with {support.provenance.name or 'support'}"
    return replace(graph, weight=graph.weight * factor, columns=columns,
                   provenance=replace(graph.provenance, name=name))  # fmt: skip


def shares_of(graph: Graph, support: Graph) -> np.ndarray:
    """Return for each edge the other network's weight over its largest, 0 where it has none."""
    place = support.nodes.find(graph.nodes)
    a, b = place[graph.source], place[graph.target]
    here = (a >= 0) & (b >= 0)
    share = np.zeros(graph.n_edges)
    largest = max(float(support.weight.max(initial=0.0)), 1e-12)
    found = support.adjacency[a[here], b[here]]
    share[here] = np.asarray(found).ravel() / largest
    return share


def learned_gain(graph: Graph, support: Graph) -> float:
    """Return the log odds that another network adds, by how it agrees with the inferred one.

    The odds of edges that it has too are compared with those of edges between genes it knows but
    does not join; few shared edges pull the difference to 0. A database that has nothing to do
    with the screen gets no say.

    Args:
        graph: with a column `probability`, or weights whose upper tenth stands for edges.
        support: the other network.

    Source:
        Empirical Bayes: the prior odds of two groups from their mean posterior probability.
    """
    values = graph.columns.get("probability")
    if values is None:
        values = graph.weight >= np.quantile(graph.weight, 0.9) if graph.n_edges else graph.weight
    p = np.asarray(values, np.float64)
    place = support.nodes.find(graph.nodes)
    known = (place[graph.source] >= 0) & (place[graph.target] >= 0)
    joined = shares_of(graph, support) > 0
    n_joined, rest = int(joined.sum()), known & ~joined
    if not n_joined or not rest.any():
        return 0.0
    inside, outside = (np.clip(p[m].mean(), 1e-6, 1 - 1e-6) for m in (joined, rest))
    difference = np.log(inside / (1 - inside)) - np.log(outside / (1 - outside))
    shrunk = difference * n_joined / (n_joined + MIN_SUPPORTED)
    return float(np.clip(shrunk, 0.0, MAX_GAIN))


def supported_by(
    graph: Graph, supports: Mapping[str, Graph]
) -> tuple[Graph, list[dict[str, float | int | str]]]:
    """Raise edges by an ensemble of networks, each by its learned gain over those before it.

    Returns:
        The network, and for each support its `gain` in log odds and how many edges it shares.
    """
    rows: list[dict[str, float | int | str]] = []
    for name, support in supports.items():
        gain = learned_gain(graph, support)
        shared = int((shares_of(graph, support) > 0).sum())
        rows.append({"network": name, "gain": gain, "shared_edges": shared})
        graph = supported(graph, support, gain=gain)
    return graph, rows


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
