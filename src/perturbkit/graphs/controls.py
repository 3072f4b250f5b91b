"""Degraded networks, the controls of every ablation: rewired, thinned, empty."""

from dataclasses import replace

import numpy as np

from perturbkit.core.errors import ConfigError
from perturbkit.core.graph import Graph


def rewire(graph: Graph, rng: np.random.Generator, *, n_rounds: int = 30) -> Graph:
    """Shuffle who meets whom and keep every degree: the control for 'is it only the degree?'.

    Each round pairs all edges at random and swaps the targets of each pair, unless a self-loop or
    a repeated edge would arise. Weights and signs stay with the source.

    Args:
        graph: any network; directed ones keep in- and out-degrees.
        rng: the source of randomness.
        n_rounds: how often each edge is offered a swap.

    Source:
        Maslov & Sneppen 2002, doi:10.1126/science.1065103.
    """
    a, b = graph.source.astype(np.int64).copy(), graph.target.astype(np.int64).copy()
    n, n_pairs = len(graph.nodes), graph.n_edges // 2
    for _ in range(n_rounds if n_pairs else 0):
        order = rng.permutation(graph.n_edges)
        i, j = order[:n_pairs], order[n_pairs : 2 * n_pairs]
        if not graph.directed:
            flip = rng.random(n_pairs) < 0.5
            a[j], b[j] = np.where(flip, b[j], a[j]), np.where(flip, a[j], b[j])
        new = np.concatenate([_code(a[i], b[j], n, graph), _code(a[j], b[i], n, graph)])
        old = np.sort(_code(a, b, n, graph))
        at = np.minimum(np.searchsorted(old, new), len(old) - 1)
        _, group, count = np.unique(new, return_inverse=True, return_counts=True)
        bad = (old[at] == new) | (count[group] > 1)
        loop = (a[i] == b[j]) | (a[j] == b[i])
        good = ~(bad[:n_pairs] | bad[n_pairs:] | loop)
        b[i[good]], b[j[good]] = b[j[good]], b[i[good]]
    about = replace(graph.provenance, name=f"{graph.provenance.name} rewired".strip())
    return replace(graph, source=a, target=b, provenance=about)


def _code(a: np.ndarray, b: np.ndarray, n: int, graph: Graph) -> np.ndarray:
    return a * n + b if graph.directed else np.minimum(a, b) * n + np.maximum(a, b)


def drop_edges(graph: Graph, share: float, rng: np.random.Generator) -> Graph:
    """Remove a random share of the edges, exactly `round(share * n)` of them.

    Raises:
        ConfigError: share is outside [0, 1].
    """
    if not 0 <= share <= 1:
        message = f"share is {share}; it lies between 0 and 1"
        raise ConfigError(message)
    keep = np.ones(graph.n_edges, bool)
    gone = rng.choice(graph.n_edges, round(share * graph.n_edges), replace=False)
    keep[gone] = False
    return graph.select(keep)


def without_edges(graph: Graph) -> Graph:
    """Return the nodes alone: the empty control of an ablation."""
    about = replace(graph.provenance, name=f"{graph.provenance.name} empty".strip())
    return replace(graph.select(np.zeros(0, np.int64)), provenance=about)
