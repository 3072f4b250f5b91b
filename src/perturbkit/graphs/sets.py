"""Gene sets: kept as a directed network from set to gene, and turned into one of genes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.sets import membership, set_graph
from perturbkit.graphs.card import GraphConfig
from perturbkit.graphs.lines import text_lines

Similarity = Literal["jaccard", "information_content"]
BLOCK = 1024
"""Genes whose similarities are computed at a time."""


class SetConfig(GraphConfig):
    """How gene sets become a network of genes."""

    as_sets: bool = False
    """keep the sets: a directed network from set to gene, for membership features"""
    similarity: Similarity = "information_content"
    """of two genes' sets: `jaccard` = shared over all; `information_content` = the same, each set
    counting -log of its share of genes, so that small sets count more"""
    min_size: int = 2
    """smaller sets are left out"""
    max_size: int = 500
    """larger sets are left out: they say little and cost the square of their size"""
    neighbours: int = 50
    """how many similar genes each gene keeps at most"""


def read_gmt(path: str | Path) -> list[tuple[str, str, list[str]]]:
    """Read a GMT file: a set on each line, its name, a description, and its genes.

    Raises:
        SchemaError: a line with fewer than three values, with its number.
        FileError: missing, cut short, or not text.
    """
    sets = []
    for number, line in text_lines(path):
        name, *rest = line.split("\t")
        genes = [g.strip() for g in rest[1:] if g.strip()]
        if not name.strip() or not genes:
            message = (
                f"{path}, line {number} is short: a set is a name, a description and genes, "
                "separated by tabs; the file may be cut short or of another format"
            )
            raise SchemaError(message)
        sets.append((name.strip(), rest[0], genes))
    return sets


def co_membership(sets: Graph, config: SetConfig) -> Graph:
    """Return the network of genes that share sets, weighted by how much they share.

    Works in blocks of genes and keeps each gene's strongest neighbours, so that the pairs within
    large sets never exist at once.

    Returns:
        An undirected network over all genes; weights in (0, 1].
    """
    matrix, genes, _ = membership(sets)
    size = np.asarray(matrix.sum(0)).ravel()
    matrix = matrix[:, (size >= config.min_size) & (size <= config.max_size)]
    size = np.asarray(matrix.sum(0)).ravel()
    weight = np.ones_like(size)
    if config.similarity == "information_content":
        weight = -np.log(np.minimum(size / len(genes), 1 - 1e-6))
    a, b, w = similar_sets(matrix, weight, config.neighbours)
    low, high = np.minimum(a, b).astype(np.int64), np.maximum(a, b)
    _, first = np.unique(low * len(genes) + high, return_index=True)
    return Graph(
        genes, low[first], high[first], w[first], np.zeros(len(first), np.int8), directed=False,
        provenance=sets.provenance,
    )  # fmt: skip


def similar_sets(
    matrix_gs: sparse.csr_array, weight_s: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the k most similar rows of each row by weighted Jaccard.

    Similarity is the weight of shared sets over the weight of the sets of either.

    Returns:
        Rows, their neighbours and similarities; zero similarities and the row itself left out.
    """
    scaled = (matrix_gs @ sparse.diags_array(weight_s)).tocsr()
    total = np.asarray(scaled.sum(1)).ravel()
    columns = matrix_gs.T.tocsr()
    rows, others, values = [], [], []
    for start in range(0, matrix_gs.shape[0], BLOCK):
        shared = sparse.csr_array(scaled[start : start + BLOCK] @ columns).tocoo()
        row, other = shared.coords
        row = row + start
        inside = row != other
        row, other, shared_w = row[inside], other[inside], shared.data[inside]
        similarity = shared_w / np.maximum(total[row] + total[other] - shared_w, 1e-12)
        order = np.lexsort((other, -similarity, row))
        first = np.searchsorted(row[order], row[order], side="left")
        keep = order[np.arange(len(order)) - first < k]
        rows.append(row[keep])
        others.append(other[keep])
        values.append(np.minimum(similarity[keep], 1).astype(np.float32))
    return np.concatenate(rows), np.concatenate(others), np.concatenate(values)


def network_of_sets(
    sets: Sequence[tuple[str, Iterable[str]]], config: SetConfig, about: Provenance
) -> Graph:
    """Return the network a config asks for, of sets or of genes.

    Raises:
        SchemaError: no set is left.
    """
    if not sets:
        message = f"no gene set of {about.name or 'the file'} is left; check namespace and species"
        raise SchemaError(message)
    joined: dict[str, list[str]] = {}
    for name, genes in sets:
        joined.setdefault(name, []).extend(genes)
    graph = set_graph(joined, about)
    return graph if config.as_sets else co_membership(graph, config)
