"""Operations on networks: fewer edges, other directions, several at once, what is covered."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from perturbkit.core.errors import ConfigError, SchemaError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.vocabulary import Vocabulary

MODES = "all, top_5, threshold_0.4, percentile_90"
_MODE = re.compile(r"(top|threshold|percentile)_([0-9.]+)$")


def align(graph: Graph, genes: Iterable[str]) -> Graph:
    """Return the network over exactly these genes in this order; see `coverage` for the rest."""
    nodes = genes if isinstance(genes, Vocabulary) else Vocabulary(genes, "gene")
    return graph.within(nodes)


def top_k(graph: Graph, k: int) -> Graph:
    """Keep the k strongest edges into each target; undirected: those strong for either end.

    Ties go to the edge that comes first.

    Raises:
        ConfigError: k is below 1.
    """
    if k < 1:
        message = f"k is {k}; keep at least 1 edge of each target"
        raise ConfigError(message)
    ends = [graph.target] if graph.directed else [graph.target, graph.source]
    keep = np.zeros(graph.n_edges, bool)
    edge = np.tile(np.arange(graph.n_edges), len(ends))
    node = np.concatenate(ends)
    order = np.lexsort((edge, -graph.weight[edge], node))
    start = np.searchsorted(node[order], node[order], side="left")
    keep[edge[order[np.arange(len(order)) - start < k]]] = True
    return graph.select(keep)


def threshold(graph: Graph, weight: float) -> Graph:
    """Keep the edges of at least this weight."""
    return graph.select(graph.weight >= np.float32(weight))


def percentile(graph: Graph, q: float) -> Graph:
    """Keep the edges at or above the q-th percentile of weight.

    Raises:
        ConfigError: q is outside [0, 100].
    """
    if not 0 <= q <= 100:
        message = f"percentile is {q}; it lies between 0 and 100"
        raise ConfigError(message)
    return threshold(graph, float(np.percentile(graph.weight, q))) if graph.n_edges else graph


def parse_mode(mode: str) -> tuple[str, float]:
    """Read `all`, `top_5`, `threshold_0.4` or `percentile_90`.

    Raises:
        ValueError: another text.
    """
    if mode == "all":
        return "all", 0.0
    match = _MODE.match(mode)
    number = match.group(2) if match else ""
    if not match or number.count(".") > 1 or not number.strip("."):
        message = f"mode is one of {MODES}"
        raise ValueError(message)
    if match.group(1) == "top" and (not number.isdigit() or int(number) < 1):
        message = "top_ takes a whole number of at least 1, as in top_5"
        raise ValueError(message)
    if match.group(1) == "percentile" and float(number) > 100:
        message = "percentile_ takes a number up to 100, as in percentile_90"
        raise ValueError(message)
    return match.group(1), float(number)


def sparsify(graph: Graph, mode: str) -> Graph:
    """Keep the edges a mode says: `all`, `top_5`, `threshold_0.4`, `percentile_90`."""
    kind, value = parse_mode(mode)
    if kind == "top":
        return top_k(graph, int(value))
    if kind == "threshold":
        return threshold(graph, value)
    return percentile(graph, value) if kind == "percentile" else graph


def symmetrise(graph: Graph) -> Graph:
    """Forget directions: of a pair of opposite edges the stronger weight stays.

    A sign stays where both directions agree or one does not know; else it becomes 0.
    """
    if not graph.directed:
        return graph
    a, b = graph.source.astype(np.int64), graph.target.astype(np.int64)
    code = np.minimum(a, b) * len(graph.nodes) + np.maximum(a, b)
    order = np.lexsort((-graph.weight, code))
    _, first, group = np.unique(code[order], return_index=True, return_inverse=True)
    signs = graph.sign[order].astype(np.int64)
    plus, minus = (
        np.bincount(group[signs > 0], minlength=len(first)),
        np.bincount(group[signs < 0], minlength=len(first)),
    )
    merged = replace(graph.select(order[first]), directed=False)
    sign = np.where((plus > 0) & (minus > 0), 0, (plus > 0).astype(int) - (minus > 0))
    return replace(merged, sign=sign)


def union(graphs: Mapping[str, Graph]) -> Graph:
    """Join networks over all their nodes; each edge keeps its weight in every one, 0 if absent.

    Weights are divided by the largest of their network, and the joint weight is the largest of
    these. Mixed directions give an undirected network. Signs that disagree become 0.

    Returns:
        A network with a column of weights named after each network.

    Raises:
        SchemaError: no network was given.
    """
    if not graphs:
        message = "no network to join; name at least one"
        raise SchemaError(message)
    directed = all(g.directed for g in graphs.values())
    parts = {n: g if directed else symmetrise(g) for n, g in graphs.items()}
    nodes = Vocabulary(sorted({n for g in parts.values() for n in g.nodes}), "node")
    codes, weights, signs = [], [], []
    for part in parts.values():
        place = nodes.encode(part.nodes)
        a, b = place[part.source], place[part.target]
        if not directed:
            a, b = np.minimum(a, b), np.maximum(a, b)
        codes.append(a * len(nodes) + b)
        weights.append(part.weight / max(float(part.weight.max(initial=0)), 1e-12))
        signs.append(part.sign)
    every = np.unique(np.concatenate(codes))
    columns = {n: np.zeros(len(every), np.float32) for n in parts}
    low, high = np.zeros(len(every), np.int8), np.zeros(len(every), np.int8)
    for name, code, weight, sign in zip(parts, codes, weights, signs, strict=True):
        place = np.searchsorted(every, code)
        columns[name][place] = weight
        low[place], high[place] = np.minimum(low[place], sign), np.maximum(high[place], sign)
    best = np.max(list(columns.values()), axis=0)
    about = Provenance(name="+".join(parts), version="union")
    return Graph(
        nodes, every // len(nodes), every % len(nodes), best, low + high, directed, about, columns
    )


def _levels(graph: Graph) -> tuple[np.ndarray, sparse.csr_array]:
    """Return the strongly connected component of each node, and their acyclic network."""
    n, label = sparse.csgraph.connected_components(
        graph.adjacency, directed=True, connection="strong"
    )
    a, b = label[graph.source], label[graph.target]
    between = a != b
    ones = np.ones(int(between.sum()), np.float32)
    links = sparse.csr_array((ones, (a[between], b[between])), shape=(n, n))
    links.sum_duplicates()
    return label, links


def _reach(links: sparse.csr_array) -> np.ndarray:
    """Return which component reaches which in one step or more, dense booleans."""
    n = links.shape[0]
    reach = np.zeros((n, n), bool)
    order = _topological(links)
    for node in order[::-1]:
        after = links.indices[links.indptr[node] : links.indptr[node + 1]]
        if len(after):
            reach[node] = reach[after].any(0)
            reach[node, after] = True
    return reach


def _topological(links: sparse.csr_array) -> np.ndarray:
    waiting = np.bincount(links.indices, minlength=links.shape[0])
    ready, order = list(np.flatnonzero(waiting == 0)), []
    while ready:
        node = ready.pop()
        order.append(node)
        for after in links.indices[links.indptr[node] : links.indptr[node + 1]]:
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)
    return np.array(order, np.int64)


def transitive_reduction(graph: Graph) -> Graph:
    """Drop each edge that a longer path explains; edges inside a feedback loop stay.

    The result reaches exactly what the input reaches. Dense in the number of components: meant
    for networks up to some 10,000 nodes.

    Raises:
        SchemaError: the network is undirected.

    Source:
        Aho, Garey & Ullman 1972, doi:10.1137/0201008, on the components of the network.
    """
    _require_directed(graph, "transitive reduction")
    label, links = _levels(graph)
    reach = _reach(links)
    a, b = label[graph.source], label[graph.target]
    keep = np.ones(graph.n_edges, bool)
    for i in np.flatnonzero(a != b):
        after = links.indices[links.indptr[a[i]] : links.indptr[a[i] + 1]]
        keep[i] = not reach[after, b[i]].any()
    return graph.select(keep)


def transitive_closure(graph: Graph) -> Graph:
    """Add an edge wherever a path leads, of the weight 1 and no sign where there was none.

    Raises:
        SchemaError: the network is undirected.
    """
    _require_directed(graph, "transitive closure")
    label, links = _levels(graph)
    reach = _reach(links)
    reach |= np.diag(np.bincount(label, minlength=len(reach)) > 1)
    a, b = np.nonzero(reach[np.ix_(label, label)])
    a, b = a[a != b], b[a != b]
    n = len(graph.nodes)
    weight, sign = np.ones(len(a), np.float32), np.zeros(len(a), np.int8)
    old = np.searchsorted(a * n + b, graph.source.astype(np.int64) * n + graph.target)
    weight[old], sign[old] = graph.weight, graph.sign
    return Graph(graph.nodes, a, b, weight, sign, directed=True, provenance=graph.provenance)


def _require_directed(graph: Graph, what: str) -> None:
    if not graph.directed:
        message = f"found an undirected network; {what} needs directions: use a regulatory one"
        raise SchemaError(message)


@dataclass(frozen=True)
class Coverage:
    """Which of the genes asked for a network knows."""

    name: str
    """the network"""
    connected: tuple[str, ...]
    """genes with an edge"""
    isolated: tuple[str, ...]
    """genes that are listed and have no edge"""
    missing: tuple[str, ...]
    """genes the network does not list"""

    def __str__(self) -> str:
        total = len(self.connected) + len(self.isolated) + len(self.missing)
        text = f"{self.name}: {len(self.connected):,} of {total:,} genes have neighbours"
        for label, names in (("without any", self.isolated), ("not listed", self.missing)):
            if names:
                more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
                text += f"; {label}: {', '.join(names[:5])}{more}"
        return text


def coverage(graph: Graph, genes: Iterable[str]) -> Coverage:
    """Say which of these genes have neighbours in the network, which none, which are unknown."""
    genes = list(dict.fromkeys(genes))
    place = graph.nodes.find(genes)
    degree = np.append(graph.degree, -1)[place]
    groups = [tuple(g for g, d in zip(genes, degree, strict=True) if test(d))
              for test in (lambda d: d > 0, lambda d: d == 0, lambda d: d < 0)]  # fmt: skip
    return Coverage(graph.provenance.name or "network", *groups)


def edge_overlap(first: Graph, second: Graph) -> dict[str, float]:
    """Count the pairs two networks share, directions aside, among the genes both list.

    Returns:
        `n_genes` in both; `n_first`, `n_second` pairs among them; `n_both`; `jaccard`; `expected`
        pairs in both if the second were random.
    """
    nodes = Vocabulary([n for n in first.nodes if n in second.nodes], "gene")
    codes = [_pair_codes(symmetrise(g).within(nodes)) for g in (first, second)]
    both = len(np.intersect1d(*codes, assume_unique=True))
    n_all = len(nodes) * (len(nodes) - 1) / 2
    either = len(codes[0]) + len(codes[1]) - both
    return {
        "n_genes": len(nodes), "n_first": len(codes[0]), "n_second": len(codes[1]),
        "n_both": both, "jaccard": both / either if either else 0.0,
        "expected": len(codes[0]) * len(codes[1]) / n_all if n_all else 0.0,
    }  # fmt: skip


def _pair_codes(graph: Graph) -> np.ndarray:
    a, b = graph.source.astype(np.int64), graph.target.astype(np.int64)
    return np.minimum(a, b) * len(graph.nodes) + np.maximum(a, b)
