"""Which gene sets the targets of a regulator come from more often than chance."""

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from perturbkit.core.graph import Graph
from perturbkit.grn.assemble import benjamini_hochberg


def enrichment(
    graph: Graph, sets: Mapping[str, Collection[str]], *, min_targets: int = 5, min_size: int = 5
) -> pl.DataFrame:
    """Test the targets of each regulator against gene sets, by the hypergeometric distribution.

    The background is the network's nodes: what was measured, not the genome.

    Args:
        graph: a network; each edge counts once, whatever its weight.
        sets: genes by set name, such as GO terms or Reactome pathways.
        min_targets: regulators with fewer targets are not tested.
        min_size: sets with fewer genes among the nodes are not tested.

    Returns:
        `source`, `set`, `n_shared`, `n_targets`, `n_set`, `fold`, `p_value`, `fdr` over all tests,
        most surprising first; empty where nothing could be tested.
    """
    from scipy.stats import hypergeom

    n = len(graph.nodes)
    targets = (graph.adjacency != 0).astype(np.int64)
    regulators = np.flatnonzero(np.asarray(targets.sum(1)).ravel() >= min_targets)
    member = np.zeros((n, len(sets)), np.int64)
    for column, genes in enumerate(sets.values()):
        place = graph.nodes.find(genes)
        member[np.unique(place[place >= 0]), column] = 1
    columns = np.flatnonzero(member.sum(0) >= min_size)
    shared = np.asarray(targets[regulators] @ member[:, columns])
    n_targets = np.asarray(targets[regulators].sum(1)).ravel()
    n_set = member[:, columns].sum(0)
    p_value = hypergeom.sf(shared - 1, n, n_set[None], n_targets[:, None])
    names = np.array(list(sets), dtype=object)[columns]
    sources = np.array(graph.nodes.names, dtype=object)[regulators]
    shape = shared.shape
    expected = np.outer(n_targets, n_set) / n
    table = {
        "source": pl.Series(np.repeat(sources, shape[1]), dtype=pl.String),
        "set": pl.Series(np.tile(names, shape[0]), dtype=pl.String),
        "n_shared": shared.ravel(),
        "n_targets": np.repeat(n_targets, shape[1]),
        "n_set": np.tile(n_set, shape[0]),
        "fold": (shared / np.maximum(expected, 1e-12)).ravel(),
        "p_value": np.asarray(p_value).ravel(),
        "fdr": benjamini_hochberg(np.asarray(p_value)).ravel(),
    }
    return pl.DataFrame(table).sort("p_value", maintain_order=True)
