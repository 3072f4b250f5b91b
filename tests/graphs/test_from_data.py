"""Networks from a screen: planted structure is found, and the training fold is all they see."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from perturbkit.core.errors import LeakError, SchemaError
from perturbkit.core.features import Features
from perturbkit.core.screen import Screen, screen_keys
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.graphs.algebra import edge_overlap
from perturbkit.graphs.read import Sources, read_graph


@pytest.fixture
def screen(rng):
    """Two programs of five genes; targets T0..T3 raise the first, T4..T7 the second."""
    labels = np.repeat(["control", *(f"T{i}" for i in range(8))], 60)
    program = np.array([-1, 0, 0, 0, 0, 1, 1, 1, 1]).repeat(60)
    activity = rng.gamma(4, 0.25, size=(len(labels), 2))
    for p in range(2):
        activity[program == p, p] *= 4
    rate = np.concatenate([np.repeat(activity, 5, axis=1), np.ones((len(labels), 6))], axis=1)
    x = rng.poisson(20 * rate).astype(np.float32)
    names = [str(i) for i in range(len(labels))]
    adata = ad.AnnData(x, obs=pd.DataFrame({"perturbation": labels}, index=names))
    adata.var_names = [f"g{i}" for i in range(16)]
    return Screen.of(adata, level="cells", unit="counts")


@pytest.fixture
def folds(screen):
    names = {k: k.split(" ")[0] for k in screen_keys(screen)}
    return {k: "test" if n in ("T3", "T7") else "train" for k, n in names.items() if n != "control"}


@pytest.mark.parametrize("name", ["coexpression", "experimental"])
def test_held_out_cells_are_never_looked_at(screen, folds, name):
    before = read_graph(name, Sources(screen=screen, folds=folds))
    changed = screen.adata.copy()
    held_out = changed.obs["perturbation"].isin(["T3", "T7"]).to_numpy()
    changed.X[held_out] = np.random.default_rng(9).poisson(50, size=changed.X[held_out].shape)
    other = Screen(changed, "cells", "counts")
    after = read_graph(name, Sources(screen=other, folds=folds))
    assert before.table().equals(after.table())
    assert "training fold" in before.provenance.version
    everything = read_graph(name, Sources(screen=other, folds=dict.fromkeys(folds, "train")))
    assert not before.table().equals(everything.table())


@pytest.mark.parametrize("name", ["coexpression", "experimental"])
def test_a_condition_without_a_fold_is_a_leak(screen, folds, name):
    folds.popitem()
    with pytest.raises(LeakError, match="have no fold"):
        read_graph(name, Sources(screen=screen, folds=folds))
    with pytest.raises(SchemaError, match="no condition is in the fold 'train'"):
        read_graph(name, Sources(screen=screen, folds=dict.fromkeys(screen_keys(screen), "test")))


def test_genes_of_a_program_become_neighbours(screen, folds):
    graph = read_graph("coexpression", Sources(screen=screen, folds=folds), neighbours=4)
    inside = [(i // 5 == j // 5) for i, j in zip(graph.source, graph.target, strict=True)
              if max(i, j) < 10]  # fmt: skip
    assert np.mean(inside) > 0.8
    only = read_graph("coexpression", Sources(screen=screen, folds=folds), controls_only=True)
    assert edge_overlap(graph, only)["jaccard"] < 1
    strong = read_graph("coexpression", Sources(screen=screen, folds=folds), min_similarity=0.5)
    assert strong.weight.min() >= 0.5
    five = read_graph("coexpression", Sources(screen=screen, folds=folds), mode="top_1")
    assert five.n_edges < graph.n_edges


def test_targets_of_a_program_become_neighbours(screen, folds):
    graph = read_graph("experimental", Sources(screen=screen, folds=folds), neighbours=2)
    assert set(graph.nodes) == {f"T{i}" for i in (0, 1, 2, 4, 5, 6)}
    positive = graph.table().filter(sign=1)
    assert all(int(a[1]) // 4 == int(b[1]) // 4
               for a, b in positive.select("source", "target").rows())  # fmt: skip
    assert positive.height == 6


def test_vectors_become_a_network_of_the_nearest(rng):
    base = rng.normal(size=(4, 16))
    x = np.repeat(base, 6, axis=0) + 0.2 * rng.normal(size=(24, 16))
    features = Features(Vocabulary([f"g{i}" for i in range(24)]), x, "scGPT")
    graph = read_graph("scgpt_derived", Sources(features=features), mode="top_5", neighbours=5)
    assert np.mean(graph.source // 6 == graph.target // 6) > 0.95
    cosine = x @ x.T / np.linalg.norm(x, axis=1) / np.linalg.norm(x, axis=1)[:, None]
    np.testing.assert_allclose(graph.weight, np.abs(cosine[graph.source, graph.target]), atol=1e-5)
