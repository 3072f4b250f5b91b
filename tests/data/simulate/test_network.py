import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbkit.core.graph import Graph
from perturbkit.data.simulate.network import draw_network, network_on, reachable
from perturbkit.data.simulate.settings import NetworkConfig


def digraph(source, target, n):
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(zip(source.tolist(), target.tolist(), strict=True))
    return graph


@settings(deadline=None, max_examples=15)
@given(
    n_genes=st.integers(20, 200), n_levels=st.integers(2, 6), share=st.floats(0.05, 1.0),
    within=st.floats(0, 1), complexes=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_settings_give_simple_edges_and_longest_path_levels(
    n_genes, n_levels, share, within, complexes, seed
):
    config = NetworkConfig(
        regulators=share, n_levels=n_levels, within_module=within, complexes=complexes
    )
    net = draw_network(config, n_genes, np.random.default_rng(seed))
    assert (net.source != net.target).all()
    assert len(np.unique(net.source * n_genes + net.target)) == len(net.source)
    forward = ~net.feedback
    assert (net.level[net.source] < net.level[net.target])[forward].all()
    graph = digraph(net.source[forward], net.target[forward], n_genes)
    longest = np.zeros(n_genes, int)
    for node in nx.topological_sort(graph):
        longest[node] = max((longest[p] + 1 for p in graph.predecessors(node)), default=0)
    np.testing.assert_array_equal(net.level, longest)


def test_feedback_edges_close_cycles_and_only_they_do():
    net = draw_network(NetworkConfig(feedback=0.1), 300, np.random.default_rng(0))
    assert net.feedback.sum() > 5
    whole = digraph(net.source, net.target, 300)
    cut = digraph(net.source[~net.feedback], net.target[~net.feedback], 300)
    assert nx.is_directed_acyclic_graph(cut)
    for a, b in zip(net.source[net.feedback], net.target[net.feedback], strict=True):
        assert nx.has_path(whole, int(b), int(a))
    assert not draw_network(
        NetworkConfig(feedback=0.0), 300, np.random.default_rng(0)
    ).feedback.any()


def test_edges_stay_in_modules_and_hubs_follow_the_exponent():
    def drawn(**changes):
        return draw_network(NetworkConfig(**changes), 1000, np.random.default_rng(0))

    def inside(net):
        return float(np.mean(net.module[net.source] == net.module[net.target]))

    kept = {"common_response": 0.0, "feedback": 0.0}
    assert inside(drawn(within_module=0.9, **kept)) > 0.6
    assert inside(drawn(within_module=0.02, **kept)) < 0.1
    heavy = np.bincount(drawn(exponent=1.8, within_module=0.0, complexes=0.0).source)
    light = np.bincount(drawn(exponent=5.0, within_module=0.0, complexes=0.0).source)
    assert heavy.max() > 3 * light.max()


def test_members_of_a_complex_share_targets_and_constants():
    net = draw_network(NetworkConfig(complexes=1.0), 300, np.random.default_rng(0))
    sizes = np.bincount(net.group)
    assert sizes.max() == 4
    for values in (net.target, net.sign, net.log_fold, net.hill, net.log_half):
        low = np.full(net.n_groups, np.inf)
        high = np.full(net.n_groups, -np.inf)
        np.minimum.at(low, net.group, values)
        np.maximum.at(high, net.group, values)
        np.testing.assert_array_equal(low, high)


def test_reachable_agrees_with_networkx():
    net = draw_network(NetworkConfig(), 60, np.random.default_rng(5))
    graph = digraph(net.source, net.target, 60)
    found = net.reachable()
    for node in range(60):
        cyclic = any(nx.has_path(graph, child, node) for child in graph.successors(node))
        expected = nx.descendants(graph, node) | ({node} if cyclic else set())
        assert set(np.flatnonzero(found[node])) == expected


def test_a_measured_topology_keeps_its_edges_and_signs():
    edges = pl.DataFrame({"source": ["a", "b", "c", "a", "d"], "target": ["b", "c", "a", "d", "e"],
                          "sign": [1, -1, 0, -1, 1]})  # fmt: skip
    graph = Graph.of(edges, directed=True)
    net = network_on(graph, NetworkConfig(), np.random.default_rng(0))
    np.testing.assert_array_equal(net.source, graph.source)
    known = graph.sign != 0
    np.testing.assert_array_equal(net.sign[known], graph.sign[known])
    assert (net.sign != 0).all()
    assert net.feedback.sum() == 1
    assert net.level.tolist() == pytest.approx([0, 1, 2, 1, 2])


def test_reachable_of_no_edges_is_nothing():
    nothing = np.zeros(0, np.int64)
    assert not reachable(nothing, nothing, 3).any()
