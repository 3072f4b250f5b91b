import networkx as nx
import numpy as np
import polars as pl
import pytest
import torch

from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.nn.graph import (
    GraphEncoder,
    edge_codes,
    graph_consistency_loss,
    normalised_adjacency,
    relations_of,
    shuffled_partners,
)


def random_graph(rng, n=30, n_edges=60, *, directed=False):
    a, b = rng.integers(n, size=(2, n_edges))
    table = pl.DataFrame({
        "source": [f"G{i}" for i in a], "target": [f"G{i}" for i in b],
        "weight": rng.uniform(0.1, 5, n_edges),
    })  # fmt: skip
    return Graph.of(table, directed=directed, nodes=[f"G{i}" for i in range(n)])


@pytest.mark.parametrize("directed", [False, True])
def test_normalisation_equals_networkx(rng, directed):
    graph = random_graph(rng, directed=directed)
    net = nx.Graph()
    net.add_nodes_from(range(30))
    top = float(graph.weight.max())
    for a, b, w in zip(graph.source, graph.target, graph.weight, strict=True):
        old = net.get_edge_data(int(a), int(b), {"weight": 0})["weight"]
        net.add_edge(int(a), int(b), weight=max(old, float(w) / top))
    net.add_edges_from(((i, i) for i in range(30)), weight=1.0)
    # networkx counts a self-loop once in its matrix
    expected = np.eye(30) - nx.normalized_laplacian_matrix(net).toarray()
    # networkx takes degrees from the adjacency's row sums
    found = normalised_adjacency(graph, graph.nodes).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found, found.T, atol=1e-7)


def test_isolated_nodes_and_an_empty_relation_are_safe(rng):
    nodes = Vocabulary(["A", "B", "C"])
    empty = Graph.of(pl.DataFrame({"source": ["X"], "target": ["Y"]}), directed=False)
    matrix = normalised_adjacency(empty, nodes)
    np.testing.assert_array_equal(matrix.toarray(), np.eye(3))
    encoder = GraphEncoder(relations_of([empty], nodes), 4, rng)
    z = encoder()
    z.sum().backward()
    assert z.shape == (3, 4)
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def test_product_and_gradient_equal_the_dense_ones(rng):
    graph = random_graph(rng, directed=True)
    (relation,) = relations_of([graph], graph.nodes)
    dense = torch.from_numpy(normalised_adjacency(graph, graph.nodes).toarray())
    x = torch.from_numpy(rng.normal(size=(30, 4)).astype(np.float32)).requires_grad_()
    y = x.detach().clone().requires_grad_()
    weight = torch.from_numpy(rng.normal(size=(30, 4)).astype(np.float32))
    (relation(x) * weight).sum().backward()
    ((dense @ y) * weight).sum().backward()
    torch.testing.assert_close(relation(x), dense @ y)
    torch.testing.assert_close(x.grad, y.grad)


def test_two_runs_agree_to_the_bit_and_seeds_matter(rng):
    graph = random_graph(rng)

    def run(seed):
        encoder = GraphEncoder(relations_of([graph, graph], graph.nodes), 8,
                               np.random.default_rng(seed))  # fmt: skip
        z = encoder()
        z.pow(2).sum().backward()
        return z, encoder.identity.grad

    first, second, other = run(1), run(1), run(2)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_output_depends_on_neighbours_only_within_the_layers(rng):
    edges = pl.DataFrame({"source": ["A", "B", "C"], "target": ["B", "C", "D"]})
    graph = Graph.of(edges, directed=False)
    encoder = GraphEncoder(relations_of([graph], graph.nodes), 6, rng, n_layers=2)
    before = encoder().detach()
    with torch.no_grad():
        encoder.identity[3] *= -1
    moved = (encoder() - before).abs().sum(1) > 1e-6
    assert moved.tolist() == [False, True, True, True]


def test_every_relation_has_an_effect(rng):
    graphs = [random_graph(rng), random_graph(rng)]
    encoder = GraphEncoder(relations_of(graphs, graphs[0].nodes), 6, rng)
    before = encoder().detach()
    for relation in encoder.relations:
        old = relation.value.clone()
        relation.value.zero_()
        assert not torch.allclose(encoder(), before)
        relation.value.copy_(old)


def test_without_any_start_the_error_says_so(rng):
    graph = random_graph(rng)
    encoder = GraphEncoder(relations_of([graph], graph.nodes), 6, rng, identity=False)
    with pytest.raises(ValueError, match="neither learned nor given"):
        encoder()


def test_shuffled_partners_keep_degrees_and_avoid_edges(rng):
    graph = random_graph(rng, n=60, n_edges=300)
    pairs = edge_codes(graph, graph.nodes)
    codes = np.sort(pairs[:, 0] * 60 + pairs[:, 1])
    others = shuffled_partners(pairs, codes, 60, rng)
    low, high = others.min(1), others.max(1)
    assert not np.isin(low * 60 + high, codes).any()
    assert (low != high).all()
    assert len(others) > 0.95 * len(pairs)
    if len(others) == len(pairs):
        np.testing.assert_array_equal(
            np.bincount(others.ravel(), minlength=60), np.bincount(pairs.ravel(), minlength=60)
        )


def test_consistency_loss_has_a_gradient_and_pulls_neighbours_together(rng):
    graph = random_graph(rng, n=40, n_edges=60)
    pairs = edge_codes(graph, graph.nodes)
    codes = np.sort(pairs[:, 0] * 40 + pairs[:, 1])
    others = torch.from_numpy(shuffled_partners(pairs, codes, 40, rng))
    pairs = torch.from_numpy(pairs)
    z = torch.from_numpy(rng.normal(size=(40, 8)).astype(np.float32)).requires_grad_()

    def gap():
        u = torch.nn.functional.normalize(z.detach(), dim=1)

        def mean(p):
            return (u[p[:, 0]] * u[p[:, 1]]).sum(1).mean()

        return float(mean(pairs) - mean(others))

    before, first = gap(), float(graph_consistency_loss(z.detach(), pairs, others))
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = graph_consistency_loss(z, pairs, others)
        loss.backward()
        assert z.grad.abs().sum() > 0
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first
    assert gap() > before + 0.5


def test_consistency_loss_of_no_pairs_is_zero_with_a_gradient():
    z = torch.ones(3, 2, requires_grad=True)
    none = torch.zeros(0, 2, dtype=torch.int64)
    loss = graph_consistency_loss(z, none, none)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not z.grad.any()
