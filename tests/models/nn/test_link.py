import numpy as np
import polars as pl
import pytest

from perturbkit.core.graph import Graph
from perturbkit.genes.embed import embed
from perturbkit.graphs.controls import rewire
from perturbkit.models.nn.graph import edge_codes, shuffled_partners
from perturbkit.models.nn.link import LinkConfig, fit_graph_encoder

CONFIG = LinkConfig(width=16, n_steps=20)


@pytest.fixture
def communities(rng):
    group = np.arange(180) // 20
    same = group[:, None] == group[None]
    a, b = np.nonzero(np.triu(rng.random((180, 180)) < np.where(same, 0.5, 0.005), 1))
    edges = pl.DataFrame({"source": [f"g{i}" for i in a], "target": [f"g{i}" for i in b]})
    return Graph.of(edges, directed=False, nodes=[*(f"g{i}" for i in range(180)), "lonely"])


def held_out_auroc(graph, rng):
    """AUROC of the cosine, a fifth of the edges held out, against pairs of the same degrees."""
    test = rng.random(graph.n_edges) < 0.2
    every = edge_codes(graph, graph.nodes)
    codes = np.sort(every[:, 0] * len(graph.nodes) + every[:, 1])
    pairs = edge_codes(graph.select(test), graph.nodes)
    others = shuffled_partners(pairs, codes, len(graph.nodes), rng)
    start = embed("spectral", graph.select(~test), rng, width=16)
    z = fit_graph_encoder([graph.select(~test)], CONFIG, rng, features=start).values
    near, far = ((z[p[:, 0]] * z[p[:, 1]]).sum(1) for p in (pairs, others))
    return (near[:, None] > far[None]).mean()


def test_held_out_edges_of_communities_are_found_and_of_rewired_ones_not(communities, rng):
    assert held_out_auroc(communities, rng) > 0.85
    assert abs(held_out_auroc(rewire(communities, rng), rng) - 0.5) < 0.2


def test_vectors_have_unit_length_and_come_back_the_same(communities):
    made = [fit_graph_encoder([communities], CONFIG, np.random.default_rng(1)) for _ in range(2)]
    np.testing.assert_array_equal(made[0].values, made[1].values)
    np.testing.assert_allclose(np.linalg.norm(made[0].values, axis=1), 1, atol=1e-5)
    assert "lonely" in made[0].names
