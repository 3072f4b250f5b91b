"""Which gene sets the targets of a regulator come from more often than chance."""

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.false_discovery import benjamini_hochberg


def enrichment(
    graph: Graph, sets: Mapping[str, Collection[str]], *, min_targets: int = 5, min_size: int = 5
) -> pl.DataFrame:
    """Test the targets of each regulator against gene sets.

    The background is the network's nodes: what was measured, not the genome.

    Args:
        graph: a network; each edge counts once, whatever its weight.
        sets: genes by set name, such as GO terms or Reactome pathways.
        min_targets: regulators with fewer targets are not tested.
        min_size: sets with fewer genes among the nodes are not tested.

    Returns:
        As `enriched`, with the regulator as `source`.
    """
    names = np.array(graph.nodes.names, dtype=object)
    linked = graph.adjacency != 0
    groups = {
        str(names[i]): names[linked.indices[linked.indptr[i] : linked.indptr[i + 1]]].tolist()
        for i in np.flatnonzero(np.diff(linked.indptr))
    }
    return enriched(groups, sets, graph.nodes, min_targets=min_targets, min_size=min_size)


def enriched(
    groups: Mapping[str, Collection[str]],
    sets: Mapping[str, Collection[str]],
    background: Vocabulary,
    *,
    min_targets: int = 5,
    min_size: int = 5,
) -> pl.DataFrame:
    """Test groups of genes against gene sets, by the hypergeometric distribution.

    Args:
        groups: genes by group: the targets of a regulator, a module.
        sets: genes by set name.
        background: every gene that could have been in a group; others do not count.
        min_targets: groups with fewer genes are not tested.
        min_size: sets with fewer genes in the background are not tested.

    Returns:
        `source` (the group), `set`, `n_shared`, `n_targets`, `n_set`, `fold`, `p_value`, `fdr`
        (Benjamini-Hochberg over all tests), `genes` (those shared), most surprising first; empty
        where nothing could be tested.
    """
    from scipy.stats import hypergeom

    n = len(background)
    group_gn, set_sn = _members(groups, background), _members(sets, background)
    kept = np.flatnonzero(group_gn.sum(1) >= min_targets)
    tested = np.flatnonzero(set_sn.sum(1) >= min_size)
    group_gn, set_sn = group_gn[kept], set_sn[tested]
    shared = (group_gn @ set_sn.T).astype(np.int64)
    n_targets, n_set = group_gn.sum(1).astype(np.int64), set_sn.sum(1).astype(np.int64)
    p_value = np.asarray(hypergeom.sf(shared - 1, n, n_set[None], n_targets[:, None]))
    expected = np.outer(n_targets, n_set) / max(n, 1)
    a, b = (i.ravel() for i in np.indices(shared.shape))
    names = np.array(background.names, dtype=object)
    both = [" ".join(names[(group_gn[i] * set_sn[j]) > 0]) if shared[i, j] else ""
            for i, j in zip(a, b, strict=True)]  # fmt: skip
    table = {
        "source": pl.Series(np.array(list(groups), object)[kept][a], dtype=pl.String),
        "set": pl.Series(np.array(list(sets), object)[tested][b], dtype=pl.String),
        "n_shared": shared.ravel(),
        "n_targets": n_targets[a],
        "n_set": n_set[b],
        "fold": (shared / np.maximum(expected, 1e-12)).ravel(),
        "p_value": p_value.ravel(),
        "fdr": benjamini_hochberg(p_value).ravel(),
        "genes": pl.Series(both, dtype=pl.String),
    }
    return pl.DataFrame(table).sort("p_value", maintain_order=True)


def _members(groups: Mapping[str, Collection[str]], background: Vocabulary) -> np.ndarray:
    """Return groups by genes of the background as zeros and ones, float32."""
    result = np.zeros((len(groups), len(background)), np.float32)
    for row, genes in enumerate(groups.values()):
        place = background.find(genes)
        result[row, place[place >= 0]] = 1
    return result
