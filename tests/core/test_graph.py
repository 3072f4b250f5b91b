"""Graphs merge repeated edges, align by name and refuse what contradicts itself."""

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import SchemaError, UnknownNameError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.vocabulary import Vocabulary

EDGES = pl.DataFrame(
    {
        "source": ["A", "B", "A", "C", "C"],
        "target": ["B", "A", "C", "C", "B"],
        "weight": [0.5, 0.9, 0.2, 1.0, 0.3],
        "sign": [1, -1, 1, 1, -1],
    }
)


def test_directed_edges_keep_both_directions_and_drop_loops() -> None:
    graph = Graph.of(EDGES, directed=True)
    assert graph.n_edges == 4
    assert graph.table()["weight"].to_list() == pytest.approx([0.9, 0.5, 0.3, 0.2])


def test_undirected_edges_merge_to_the_strongest() -> None:
    graph = Graph.of(EDGES, directed=False)
    dense = graph.adjacency.toarray()
    assert graph.n_edges == 3
    assert np.array_equal(dense, dense.T)
    assert dense[0, 1] == np.float32(0.9)
    assert graph.sign[graph.weight == np.float32(0.9)] == -1


def test_within_aligns_by_name() -> None:
    graph = Graph.of(EDGES, directed=True).within(Vocabulary(["C", "A", "new"], "node"))
    assert graph.table().select("source", "target").rows() == [("A", "C")]
    assert graph.degree.tolist() == [1, 1, 0]


def test_nodes_must_be_listed() -> None:
    with pytest.raises(UnknownNameError, match="no node named 'C'"):
        Graph.of(EDGES, directed=True, nodes=["A", "B"])


def test_faults_are_refused() -> None:
    nodes = Vocabulary(["A", "B"], "node")
    with pytest.raises(SchemaError, match="occurs more than once"):
        Graph(nodes, np.r_[0, 1], np.r_[1, 0], np.ones(2), np.zeros(2), directed=False)
    with pytest.raises(SchemaError, match="negative or not finite"):
        Graph(nodes, np.r_[0], np.r_[1], np.r_[np.nan], np.zeros(1), directed=True)
    with pytest.raises(SchemaError, match="node that is not listed"):
        Graph(nodes, np.r_[0], np.r_[2], np.ones(1), np.zeros(1), directed=True)
    with pytest.raises(SchemaError, match="need source and target"):
        Graph.of(pl.DataFrame({"from": ["A"]}), directed=True)


def test_an_empty_graph_is_a_graph() -> None:
    graph = Graph.of(EDGES.head(0), directed=True, nodes=["A"], provenance=Provenance("none"))
    assert graph.n_edges == 0
    assert graph.adjacency.shape == (1, 1)
    assert graph.about()["n_isolated"] == 1
