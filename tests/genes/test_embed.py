"""Embeddings of networks, sets, screens and SMILES: planted structure, oracles, what is missing."""

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from perturbkit.core.errors import ConfigError, SchemaError, UnknownNameError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.screen import Screen
from perturbkit.core.sets import set_graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.embed import embed, joined
from perturbkit.genes.random_walk import RandomWalkConfig, met_together, walks
from perturbkit.genes.spectral import spectral_vectors


@pytest.fixture
def communities(rng):
    """Four communities of 15 genes with ten times the edges inside, and a lonely gene."""
    group = np.arange(60) // 15
    inside = group[:, None] == group[None]
    a, b = np.nonzero(np.triu(rng.random((60, 60)) < np.where(inside, 0.5, 0.05), 1))
    edges = pl.DataFrame({"source": [f"g{i}" for i in a], "target": [f"g{i}" for i in b]})
    return Graph.of(edges, directed=False, nodes=[*(f"g{i}" for i in range(60)), "lonely"])


def separation(features, group):
    """Mean cosine within groups minus between them."""
    x = features.values / np.linalg.norm(features.values, axis=1, keepdims=True)
    same = group[:, None] == group[None]
    cosine = x @ x.T
    return cosine[same & ~np.eye(len(x), dtype=bool)].mean() - cosine[~same].mean()


@pytest.mark.parametrize("name", ["spectral", "random_walk"])
def test_communities_become_clusters_and_lonely_genes_are_missing(communities, rng, name):
    features = embed(name, communities, rng, width=4)
    assert features.missing == ("lonely",)
    assert features.values.shape == (60, 4)
    group = np.array([int(n[1:]) // 15 for n in features.names])
    assert separation(features, group) > 0.5


@pytest.mark.parametrize("name", ["spectral", "random_walk"])
def test_same_seed_same_bits(communities, name):
    values = [embed(name, communities, np.random.default_rng(4)).values for _ in range(2)]
    np.testing.assert_array_equal(*values)


def test_spectral_vectors_equal_dense_eigenvectors(communities, rng):
    adjacency = sparse.csr_array(communities.adjacency[:60][:, :60])
    vectors, values = spectral_vectors(adjacency, 6, 0.25, rng)
    degree = np.asarray(adjacency.sum(1)).ravel()
    degree = degree + 0.25 * degree.mean()
    dense = adjacency.toarray() / np.sqrt(np.outer(degree, degree))
    expected = np.linalg.eigvalsh(dense)[::-1][:6]
    np.testing.assert_allclose(values, expected, atol=1e-3)
    np.testing.assert_allclose(dense @ vectors, vectors * values, atol=1e-2)


def test_spectral_settings_have_effects(communities, rng):
    weights = np.linspace(0.1, 3, communities.n_edges)
    graph = Graph(communities.nodes, communities.source, communities.target, weights,
                  communities.sign, directed=False)  # fmt: skip
    base = embed("spectral", graph, np.random.default_rng(0), width=5).values
    for change in ({"weighted": False}, {"regularisation": 2.0}, {"unit_length": False}):
        other = embed("spectral", graph, np.random.default_rng(0), width=5, **change).values
        assert not np.allclose(base, other, atol=1e-3), change
    assert np.allclose(np.linalg.norm(base, axis=1), 1, atol=1e-5)


def test_walks_follow_edges_and_p_and_q_steer_them(communities):
    adjacency = sparse.csr_array(communities.adjacency[:60][:, :60])
    dense = adjacency.toarray() > 0

    def backtracking(p, q):
        config = RandomWalkConfig(n_walks=10, length=10, p=p, q=q)
        path = walks(adjacency, config, np.random.default_rng(0))
        assert dense[path[:, :-1].ravel(), path[:, 1:].ravel()].all()
        back = (path[:, 2:] == path[:, :-2]).mean()
        near = dense[path[:, :-2].ravel(), path[:, 2:].ravel()].mean()
        return back, near

    plain, loyal, inward = backtracking(1, 1), backtracking(0.05, 1), backtracking(1, 10)
    assert loyal[0] > plain[0] + 0.2
    assert inward[1] > plain[1] + 0.1


def test_meetings_are_counted_within_the_window():
    path = np.array([[0, 1, 2, 3]])
    expected = np.array([[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]])
    np.testing.assert_array_equal(met_together(path, 4, 2).toarray(), expected)


def test_networks_without_edges_are_refused(communities, rng):
    empty = communities.select(np.zeros(0, np.int64))
    for name in ("spectral", "random_walk"):
        with pytest.raises(SchemaError, match="has no edge"):
            embed(name, empty, rng)


def test_degree_features_know_nothing_but_degrees(communities, rng):
    features = embed("degree", communities, rng)
    place = features.names.position("lonely")
    assert features.values[place, 0] == features.values[:, 0].min()
    order = np.argsort(communities.degree)
    assert (np.diff(features.values[order, 0]) >= -1e-6).all()


def test_membership_groups_genes_of_the_same_sets(rng):
    sets = {f"s{i}": [f"g{j}" for j in range(20) if j % 4 == i % 4 and rng.random() < 0.8]
            for i in range(16)}  # fmt: skip
    graph = set_graph(sets, Provenance(name="sets"))
    features = embed("membership", graph, rng, width=4)
    group = np.array([int(n[1:]) % 4 for n in features.names])
    assert separation(features, group) > 0.8
    with pytest.raises(SchemaError, match="widen the limits"):
        embed("membership", graph, rng, min_size=50)


def test_membership_needs_sets(communities, rng):
    with pytest.raises(SchemaError, match="as_sets = true"):
        embed("membership", communities, rng)


@pytest.mark.parametrize("unit", ["counts", "log1p_cp10k"])
def test_control_pca_sees_controls_only(rng, unit):
    factor = rng.gamma(5, 0.2, size=(300, 2)).repeat(6, axis=1)
    counts = rng.poisson(30 * factor).astype(np.float32)
    x = counts if unit == "counts" else np.log1p(counts)
    labels = np.repeat(["control", "A"], 150)
    index = [str(i) for i in range(300)]

    def made(matrix):
        adata = ad.AnnData(matrix, obs=pd.DataFrame({"perturbation": labels}, index=index))
        screen = Screen.of(adata, level="cells", unit=unit)
        return embed("control_pca", screen, np.random.default_rng(0), width=2)

    features = made(x)
    assert separation(features, np.arange(12) // 6) > 0.5
    changed = x.copy()
    changed[150:] = 1
    np.testing.assert_array_equal(made(changed).values, features.values)


def test_control_pca_needs_controls(rng):
    obs = pd.DataFrame({"perturbation": ["control", "A", "B"]}, index=list("xyz"))
    screen = Screen.of(ad.AnnData(rng.normal(size=(3, 4)), obs=obs), level="profiles",
                       unit="zscore")  # fmt: skip
    with pytest.raises(SchemaError, match="at least 3"):
        embed("control_pca", screen, rng)


def test_fingerprints_of_compounds(rng):
    pytest.importorskip("rdkit")
    smiles = {"ethanol": "CCO", "propanol": "CCCO", "benzene": "c1ccccc1", "unknown": ""}
    features = embed("fingerprints", smiles, rng, width=256)
    assert features.missing == ("unknown",)
    bits = features.values
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert (bits[0] * bits[1]).sum() > (bits[0] * bits[2]).sum()
    counts = embed("fingerprints", smiles, rng, width=256, counts=True)
    assert counts.values.max() > 1
    with pytest.raises(SchemaError, match=r"compound 'x': 'C\(C' is not valid SMILES"):
        embed("fingerprints", {"x": "C(C"}, rng)


def test_unknown_names_and_settings(communities, rng):
    with pytest.raises(UnknownNameError, match="did you mean 'spectral'"):
        embed("spektral", communities, rng)
    with pytest.raises(ConfigError, match=r"embedding spectral: .*widht"):
        embed("spectral", communities, rng, widht=3)


def test_joined_features_tell_not_known_from_zero():
    first = Features(Vocabulary(["A", "B"]), [[3.0, 4.0], [0.0, 0.0]], "one", ("Z",))
    second = Features(Vocabulary(["B", "C"]), [[1.0], [1.0]], "two")
    both = joined([first, second])
    assert list(both.names) == ["A", "B", "C"]
    assert both.missing == ("Z",)
    assert both.name == "one + two"
    np.testing.assert_array_equal(both.values[:, 2], [1, 1, 0])
    np.testing.assert_array_equal(both.values[:, 4], [0, 1, 1])
    with pytest.raises(SchemaError, match="no features"):
        joined([])
