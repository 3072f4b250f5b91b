"""Every network method keeps the promises of its card."""

from importlib.util import find_spec

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.core.screen import Screen
from perturbkit.grn import GRN_METHODS

WITHOUT = {} if find_spec("causallearn") else {"pc", "ges"}
METHODS = [card for card in GRN_METHODS.values() if card.name not in WITHOUT]
DRAWN = ("genie3", "grnboost", "notears", "dcdi", "lasso", "graphical_lasso", "pc", "ges")
"""Trees, descents and searches draw, or visit columns in order; names still travel."""


def cells(seed=0, *, n_genes=12, order=None, columns=None):
    """Gene 0 activates genes 6 to 8, gene 1 represses 9 and 10; each of genes 0 to 5 is lost."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(-1, 6), [80, *[30] * 6])
    log = rng.normal(2.0, 0.3, (len(which), n_genes))
    log[which[:, None] == np.arange(n_genes)] -= 2.0
    log[:, 6:9] += 0.7 * (log[:, :1] - 2.0)
    log[:, 9:11] -= 0.7 * (log[:, 1:2] - 2.0)
    counts = rng.poisson(np.exp(log)).astype(np.float32)
    names = np.array([f"g{j}" for j in range(n_genes)])
    obs = pd.DataFrame(
        {"perturbation": ["control" if w < 0 else f"g{w}" for w in which]},
        index=[f"c{i}" for i in range(len(which))],
    )
    adata = ad.AnnData(counts, obs, pd.DataFrame(index=names))
    adata = adata[np.arange(len(which)) if order is None else order]
    adata = adata[:, np.arange(n_genes) if columns is None else columns].copy()
    return Screen.of(adata, level="cells", unit="counts", constants={"kind": "crispri"})


def weights(graph, names):
    place = graph.nodes.find(names)
    matrix = graph.adjacency.toarray()
    return matrix[np.ix_(place, place)]


@pytest.fixture(scope="module")
def screen():
    return cells()


@pytest.mark.parametrize("card", METHODS, ids=lambda c: c.name)
def test_a_method_returns_a_network_of_the_screen(card, screen):
    graph = card.fn(screen, np.random.default_rng(0))
    assert set(graph.nodes) == set(screen.readouts) | set(screen.targets)
    assert graph.directed == card.directed
    assert graph.n_edges > 0
    assert (graph.source != graph.target).all()
    assert np.isfinite(graph.weight).all()
    assert set(np.unique(graph.sign)) <= {-1, 0, 1}
    assert {"probability", "fdr"} <= set(graph.columns) or not card.calibrated
    for name in {"probability", "fdr"} & set(graph.columns):
        assert ((graph.columns[name] >= 0) & (graph.columns[name] <= 1)).all()


@pytest.mark.parametrize("card", METHODS, ids=lambda c: c.name)
def test_planted_edges_outweigh_absent_ones(card, screen):
    if card.name == "sortnregress":
        pytest.skip("its order is that of variance, which this screen does not give away")
    graph = card.fn(screen, np.random.default_rng(0))
    names = list(screen.readouts)
    found = weights(graph, names)
    planted = np.concatenate([found[0, 6:9], found[1, 9:11]])
    absent = np.concatenate([found[2:6, 6:].ravel(), found[2:6, :2].ravel()])
    assert np.median(planted) > np.quantile(absent, 0.9)


@pytest.mark.parametrize("card", METHODS, ids=lambda c: c.name)
def test_the_same_generator_gives_the_same_bits(card, screen):
    one, two = (card.fn(screen, np.random.default_rng(3)).table() for _ in range(2))
    assert one.equals(two)


@pytest.mark.parametrize("card", METHODS, ids=lambda c: c.name)
def test_columns_are_aligned_by_name_and_rows_in_any_order(card, screen):
    if card.name in DRAWN:
        pytest.skip("draws, or visits columns in order; names still travel")
    rng = np.random.default_rng(1)
    columns = rng.permutation(len(screen.readouts))
    shuffled = cells(columns=columns, order=rng.permutation(screen.adata.n_obs))
    names = list(screen.readouts)
    one = weights(card.fn(screen, np.random.default_rng(0)), names)
    two = weights(card.fn(shuffled, np.random.default_rng(0)), names)
    # the control splits are drawn anew for another order of cells: a few per cent of the weight
    assert np.allclose(one, two, rtol=0.05, atol=0.01 * one.max())


@pytest.mark.parametrize("card", METHODS, ids=lambda c: c.name)
def test_hostile_screens_give_finite_networks(card):
    """A silent gene, a perturbation of one cell, a cell without counts."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (60, 8)).astype(np.float32)
    counts[:, 7] = 0
    counts[5] = 0
    labels = ["control"] * 30 + ["g0"] * 29 + ["g1"]
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(60)])
    adata = ad.AnnData(counts, obs, pd.DataFrame(index=[f"g{j}" for j in range(8)]))
    screen = Screen.of(adata, level="cells", unit="counts")
    graph = card.fn(screen, rng)
    assert np.isfinite(graph.weight).all()


@pytest.mark.parametrize("card", METHODS, ids=lambda c: c.name)
def test_profiles_are_taken_as_well(card):
    rng = np.random.default_rng(0)
    p = 12
    values = rng.normal(0, 0.1, (p + 1, p))
    values[np.arange(1, p + 1), np.arange(p)] -= 2
    values[1, 5] += 1.5
    labels = ["control", *[f"g{i}" for i in range(p)]]
    obs = pd.DataFrame({"perturbation": labels}, index=labels)
    adata = ad.AnnData(values, obs, pd.DataFrame(index=labels[1:]))
    screen = Screen.of(adata, level="profiles", unit="score", constants={"kind": "ko"})
    graph = card.fn(screen, rng)
    if card.interventional and card.name not in ("notears", "dcdi"):
        assert graph.table().row(0)[:2] == ("g0", "g5")
        assert graph.table()["sign"][0] == -1


def test_a_screen_without_single_perturbations_is_refused():
    obs = pd.DataFrame({"perturbation": ["control", "a+b"]}, index=["1", "2"])
    adata = ad.AnnData(np.ones((2, 2), np.float32), obs, pd.DataFrame(index=["a", "b"]))
    screen = Screen.of(adata, level="cells", unit="counts")
    with pytest.raises(SchemaError, match="single perturbations"):
        GRN_METHODS["direct"].fn(screen, np.random.default_rng(0))
