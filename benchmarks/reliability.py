"""Reliability of probabilities over several screens, with intervals."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary


def true_pairs(graph: Graph, sources: Vocabulary, targets: Vocabulary) -> np.ndarray:
    """Return whether there is an edge from each source to each target."""
    nodes = np.array(graph.nodes, dtype=object)
    source, target = sources.find(nodes[graph.source]), targets.find(nodes[graph.target])
    known = (source >= 0) & (target >= 0)
    true = np.zeros((len(sources), len(targets)), bool)
    true[source[known], target[known]] = True
    return true


def reliability(tables: list[np.ndarray]) -> list:
    """Return each bin's mean probability, share true, its 95 % interval, and pairs.

    The interval resamples screens: pairs of one screen stand and fall together.
    """
    whole = np.array(tables)
    rng = np.random.default_rng(0)
    drawn = [_pooled(whole[rng.integers(len(whole), size=len(whole))]) for _ in range(1000)]
    low, high = np.quantile([d[:, 1] for d in drawn], [0.025, 0.975], axis=0)
    rows = zip(_pooled(whole), low, high, strict=True)
    return [[round(float(v), 3) for v in (mean, share, a, b)] + [int(n)]
            for (mean, share, n), a, b in rows]  # fmt: skip


def _pooled(tables: np.ndarray) -> np.ndarray:
    count = tables[..., 2].sum(0)
    sums = (tables[..., :2] * tables[..., 2:]).sum(0)
    return np.column_stack([sums / np.maximum(count, 1)[:, None], count])
