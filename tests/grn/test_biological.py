"""Databases as judges: against sklearn, and only of genes they know."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score

from perturbkit.core.graph import Graph
from perturbkit.grn.biological import biological, judged_genes
from perturbkit.grn.evaluate import average_precision, weighted_average_precision

GENES = [f"g{i}" for i in range(30)]


def graph(rows, nodes=None, *, directed=True):
    table = pl.DataFrame(rows, schema=["source", "target", "weight"], orient="row")
    return Graph.of(table, directed=directed, nodes=nodes)


def random_networks(seed=0, n=30):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, n)) < 0.1
    # a source without a target would not be judged
    truth[np.arange(n), (np.arange(n) + 1) % n] = True
    score = rng.random((n, n)) + 0.5 * truth
    np.fill_diagonal(truth, val=False)
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b]
    found = graph([(GENES[a], GENES[b], score[a, b]) for a, b in pairs], GENES)
    standard = graph([(GENES[a], GENES[b], 1.0) for a, b in pairs if truth[a, b]], GENES)
    flat = np.array([truth[p] for p in pairs]), np.array([score[p] for p in pairs])
    return found, standard, flat


def test_areas_and_precision_are_those_of_the_pairs(rng):
    found, standard, (truth, score) = random_networks()
    row = biological(found, standard, (GENES, GENES), rng, n_edges=(50,))[0]
    assert row["n_pairs"] == 30 * 29
    assert row["auprc_ratio"] == pytest.approx(
        average_precision_score(truth, score) / truth.mean(), rel=1e-5
    )
    top = truth[np.argsort(-score, kind="stable")[:50]]
    assert row["precision"] == pytest.approx(top.mean())
    assert row["recall"] == pytest.approx(top.sum() / truth.sum())
    early = truth[np.argsort(-score, kind="stable")[: truth.sum()]].mean()
    assert row["early_precision_ratio"] == pytest.approx(early / truth.mean(), rel=0.05)
    low, high = row["auprc_ratio_interval"]
    assert low < row["auprc_ratio"] < high


def test_random_edges_score_one_and_the_standard_itself_the_most(rng):
    _, standard, (truth, _) = random_networks()
    same = biological(standard, standard, (GENES, GENES), rng)[0]
    assert same["auprc_ratio"] == pytest.approx(1 / truth.mean())
    assert same["precision"] == same["recall"] == 1.0
    noise = [(a, b, rng.random()) for a in GENES for b in GENES if a != b]
    row = biological(graph(noise, GENES), standard, (GENES, GENES), rng)[0]
    assert row["auprc_ratio_interval"][0] < 1.2
    assert row["auprc_ratio"] < 1.8


def test_genes_a_database_does_not_know_are_not_judged(rng):
    standard = graph([("a", "b", 1.0), ("a", "c", 1.0)])
    sources, targets = judged_genes(standard, ["a", "b", "x"], ["a", "b", "c", "y"])
    assert (sources, targets) == (["a"], ["a", "b", "c"])
    found = graph([("x", "y", 9.0), ("a", "b", 1.0), ("b", "a", 5.0)], list("abcxy"))
    row = biological(found, standard, (list("abx"), list("abcy")), rng)[0]
    assert (row["n_pairs"], row["n_edges"], row["precision"]) == (2, 1, 1.0)
    undirected = graph([("a", "b", 1.0)], directed=False)
    assert judged_genes(undirected, ["b"], ["a"]) == (["b"], ["a"])
    nothing = biological(found, graph([("p", "q", 1.0)]), (list("ab"), list("ab")), rng)[0]
    assert nothing["n_pairs"] == 0
    assert np.isnan(nothing["auprc_ratio"])


def test_weights_act_as_repeated_pairs():
    rng = np.random.default_rng(1)
    score, truth = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.3
    weight = rng.integers(0, 3, 40)
    repeated = average_precision(np.repeat(score, weight), np.repeat(truth, weight))
    assert weighted_average_precision(score, truth, weight.astype(float)) == pytest.approx(repeated)
