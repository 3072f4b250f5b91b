"""Gene sets as a Graph: directed edges from each set to its genes, and the matrix of membership."""

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.vocabulary import Vocabulary


def set_graph(sets: Mapping[str, Iterable[str]], provenance: Provenance) -> Graph:
    """Return the directed network from each set to its genes.

    Raises:
        SchemaError: a set is named like a gene.
    """
    members = {name: sorted(set(genes)) for name, genes in sets.items()}
    genes = sorted({g for found in members.values() for g in found})
    clash = sorted(set(genes) & set(members))
    if clash:
        message = f"{clash[0]!r} is both a set and a gene; rename the set"
        raise SchemaError(message)
    source = [n for n, found in members.items() for _ in found]
    target = [g for found in members.values() for g in found]
    schema = {"source": pl.String, "target": pl.String}
    edges = pl.DataFrame({"source": source, "target": target}, schema=schema)
    return Graph.of(edges, directed=True, nodes=[*members, *genes], provenance=provenance)


def membership(sets: Graph) -> tuple[sparse.csr_array, Vocabulary, Vocabulary]:
    """Return genes by sets as zeros and ones, with the names of both.

    Raises:
        SchemaError: the network is not one from sets to genes.
    """
    is_set = np.bincount(sets.source, minlength=len(sets.nodes)) > 0
    is_gene = np.bincount(sets.target, minlength=len(sets.nodes)) > 0
    if not sets.directed or (is_set & is_gene).any():
        message = (
            f"{sets.provenance.name or 'this network'} does not lead from sets to genes; "
            "read it with as_sets = true"
        )
        raise SchemaError(message)
    names = np.array(sets.nodes.names, dtype=object)
    row, column = np.cumsum(is_gene) - 1, np.cumsum(is_set) - 1
    matrix = sparse.csr_array(
        (np.ones(sets.n_edges, np.float32), (row[sets.target], column[sets.source])),
        shape=(int(is_gene.sum()), int(is_set.sum())),
    )
    return matrix, Vocabulary(names[is_gene], "gene"), Vocabulary(names[is_set], "set")
