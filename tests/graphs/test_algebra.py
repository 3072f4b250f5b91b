import networkx as nx
import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import ConfigError, SchemaError
from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.graphs.algebra import (
    align,
    coverage,
    edge_overlap,
    percentile,
    symmetrise,
    threshold,
    top_k,
    transitive_closure,
    transitive_reduction,
    union,
)  # fmt: skip
from perturbkit.graphs.controls import drop_edges, rewire, without_edges


def of(rows, *, directed=True, nodes=None):
    table = pl.DataFrame(rows, schema=["source", "target", "weight", "sign"][: len(rows[0])],
                         orient="row")  # fmt: skip
    return Graph.of(table, directed=directed, nodes=nodes)


def pairs(graph):
    return set(graph.table().select("source", "target").rows())


def random_directed(rng, n, n_edges):
    rows = [(f"G{a}", f"G{b}") for a, b in rng.integers(n, size=(n_edges, 2))]
    return of(rows, nodes=[f"G{i}" for i in range(n)])


def test_align_orders_by_name_and_drops_edges_that_lead_out():
    graph = of([("A", "B", 1.0), ("B", "C", 2.0)])
    aligned = align(graph, ["C", "Z", "B"])
    assert list(aligned.nodes) == ["C", "Z", "B"]
    assert pairs(aligned) == {("B", "C")}


def test_top_k_keeps_the_strongest_of_each_target():
    graph = of([("A", "C", 1.0), ("B", "C", 3.0), ("D", "C", 2.0), ("A", "D", 0.1)])
    assert pairs(top_k(graph, 1)) == {("B", "C"), ("A", "D")}
    assert pairs(top_k(graph, 2)) == {("B", "C"), ("D", "C"), ("A", "D")}
    either = top_k(of([("A", "B", 3.0), ("A", "C", 2.0), ("A", "D", 1.0)], directed=False), 1)
    assert pairs(either) == {("A", "B"), ("A", "C"), ("A", "D")}
    with pytest.raises(ConfigError, match="at least 1"):
        top_k(graph, 0)


def test_threshold_and_percentile():
    graph = of([("A", "B", 1.0), ("A", "C", 2.0), ("A", "D", 3.0), ("A", "E", 4.0)])
    assert threshold(graph, 3.0).n_edges == 2
    assert percentile(graph, 50).n_edges == 2
    assert percentile(graph, 0).n_edges == 4
    with pytest.raises(ConfigError, match="between 0 and 100"):
        percentile(graph, 101)


def test_symmetrise_merges_opposite_edges():
    graph = of([("A", "B", 1.0, 1), ("B", "A", 2.0, -1), ("C", "B", 1.0, -1), ("A", "C", 1.0, 0),
                ("C", "A", 3.0, 1)])  # fmt: skip
    table = {(a, b): (w, s) for a, b, w, s in symmetrise(graph).table().rows()}
    assert len(table) == 3
    found = {frozenset(k): v for k, v in table.items()}
    assert found[frozenset("AB")] == (2.0, 0)
    assert found[frozenset("BC")] == (1.0, -1)
    assert found[frozenset("AC")] == (3.0, 1)


def test_union_keeps_each_networks_weight():
    first = of([("A", "B", 2.0, 1), ("B", "C", 1.0, 1)])
    second = of([("B", "C", 5.0, -1), ("C", "D", 5.0, -1)])
    joint = union({"one": first, "two": second})
    table = {(r["source"], r["target"]): r for r in joint.table().to_dicts()}
    assert table["B", "C"]["one"] == 0.5
    assert table["B", "C"]["two"] == 1.0
    assert table["B", "C"]["sign"] == 0
    assert table["A", "B"]["two"] == 0.0
    assert table["C", "D"]["sign"] == -1
    assert joint.directed
    assert not union({"one": first, "two": symmetrise(second)}).directed
    with pytest.raises(SchemaError, match="no network"):
        union({})


def net_of(graph):
    net = nx.DiGraph()
    net.add_nodes_from(graph.nodes)
    net.add_edges_from(pairs(graph))
    return net


@pytest.mark.parametrize("seed", range(5))
def test_closure_and_reduction_equal_networkx_on_acyclic_networks(seed):
    rng = np.random.default_rng(seed)
    rows = [(f"G{min(a, b):02}", f"G{max(a, b):02}") for a, b in rng.integers(15, size=(40, 2))
            if a != b]  # fmt: skip
    graph = of(rows)
    assert pairs(transitive_reduction(graph)) == set(nx.transitive_reduction(net_of(graph)).edges)
    assert pairs(transitive_closure(graph)) == set(nx.transitive_closure(net_of(graph)).edges)


@pytest.mark.parametrize("seed", range(5))
def test_reduction_reaches_the_same_also_with_feedback(seed):
    graph = random_directed(np.random.default_rng(seed), 12, 30)
    reduced = transitive_reduction(graph)
    closure = set(nx.transitive_closure(net_of(graph), reflexive=None).edges)
    expected = {(a, b) for a, b in closure if a != b}
    assert pairs(transitive_closure(graph)) == expected
    assert pairs(transitive_closure(reduced)) == expected
    assert pairs(reduced) <= pairs(graph)


def test_closure_keeps_old_weights_and_needs_directions():
    graph = of([("A", "B", 0.5, -1), ("B", "C", 0.7, 1)])
    closed = {(a, b): (round(w, 3), s) for a, b, w, s in transitive_closure(graph).table().rows()}
    assert closed == {("A", "B"): (0.5, -1), ("B", "C"): (0.7, 1), ("A", "C"): (1.0, 0)}
    for function in (transitive_closure, transitive_reduction):
        with pytest.raises(SchemaError, match="undirected"):
            function(symmetrise(graph))


@pytest.mark.parametrize("directed", [True, False])
def test_rewiring_keeps_every_degree_and_hardly_any_edge(rng, directed):
    graph = random_directed(rng, 100, 600)
    graph = graph if directed else symmetrise(graph)
    shuffled = rewire(graph, rng)
    n = len(graph.nodes)
    np.testing.assert_array_equal(shuffled.degree, graph.degree)
    if directed:
        for end in ("source", "target"):
            np.testing.assert_array_equal(
                np.bincount(getattr(shuffled, end), minlength=n),
                np.bincount(getattr(graph, end), minlength=n),
            )
    kept = edge_overlap(graph, shuffled)
    assert kept["n_both"] < 2 * kept["expected"] + 5
    assert shuffled.provenance.name.endswith("rewired")
    same = rewire(graph, np.random.default_rng(5)), rewire(graph, np.random.default_rng(5))
    np.testing.assert_array_equal(same[0].target, same[1].target)


def test_rewiring_a_network_without_another_arrangement_ends():
    star = of([("A", "B"), ("A", "C"), ("A", "D")], directed=False)
    shuffled = rewire(star, np.random.default_rng(0))
    assert set(map(frozenset, pairs(shuffled))) == set(map(frozenset, pairs(star)))


def test_dropping_edges_removes_exactly_that_share(rng):
    graph = random_directed(rng, 50, 300)
    n = graph.n_edges
    assert drop_edges(graph, 0.25, rng).n_edges == n - round(0.25 * n)
    assert drop_edges(graph, 1, rng).n_edges == 0
    assert without_edges(graph).nodes == graph.nodes
    assert without_edges(graph).n_edges == 0
    with pytest.raises(ConfigError, match="between 0 and 1"):
        drop_edges(graph, 1.5, rng)


def test_coverage_says_in_words_what_is_missing():
    graph = of([("A", "B")], nodes=["A", "B", "C"])
    found = coverage(graph, ["B", "C", "Z", "B"])
    assert (found.connected, found.isolated, found.missing) == (("B",), ("C",), ("Z",))
    assert "1 of 3 genes have neighbours; without any: C; not listed: Z" in str(found)


def test_overlap_counts_pairs_among_common_genes():
    first = of([("A", "B"), ("B", "C"), ("X", "A")])
    second = of([("B", "A"), ("A", "C")], directed=False)
    found = edge_overlap(first, second)
    assert (found["n_genes"], found["n_first"], found["n_second"], found["n_both"]) == (3, 2, 2, 1)
    assert found["jaccard"] == pytest.approx(1 / 3)


def test_union_of_vocabularies_is_sorted_and_complete():
    joint = union({"one": of([("B", "A")]), "two": of([("C", "A")])})
    assert joint.nodes == Vocabulary(["A", "B", "C"])
