"""Explain finds planted edges, keeps its false discovery rate, and writes what it found."""

import networkx as nx
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from perturbkit.core.errors import ConfigError, FileError, UnknownNameError
from perturbkit.grn.explain import explain
from perturbkit.grn.export import COLUMNS, save_graph


def test_direct_beats_the_plain_z_score_on_direct_edges(screen_with_edges, rng):
    planted, inside = screen_with_edges, screen_with_edges.off_diagonal
    truth = planted.truth_pg[inside] != 0
    scores = {
        m: planted.matrix(explain(planted.screen, method=m, rng=rng))[inside]
        for m in ("direct", "knockout_z")
    }
    assert roc_auc_score(truth, scores["direct"]) > 0.95
    precision = {m: average_precision_score(truth, s) for m, s in scores.items()}
    assert precision["direct"] > precision["knockout_z"] + 0.1


def test_edges_up_to_a_rate_are_true_and_have_the_right_sign(screen_with_edges, rng):
    planted = screen_with_edges
    graph = explain(planted.screen, method="direct", rng=rng, max_fdr=0.05)
    called = planted.matrix(graph) > 0
    assert graph.n_edges > 20
    assert np.mean(planted.truth_pg[called] == 0) < 0.12
    true = called & (planted.truth_pg != 0)
    sign = planted.matrix(graph, "sign")
    assert np.mean(sign[true] == np.sign(planted.truth_pg[true])) == 1.0


def test_probabilities_are_calibrated_on_planted_edges(planted):
    probability, truth = [], []
    for seed in range(3):
        screen = planted(np.random.default_rng(seed), n_cells=25, depth=1000.0)
        graph = explain(screen.screen, method="direct", rng=np.random.default_rng(0))
        inside = screen.off_diagonal
        probability.append(screen.matrix(graph, "probability")[inside])
        truth.append(screen.truth_pg[inside] != 0)
    q, t = np.concatenate(probability), np.concatenate(truth)
    bins = np.digitize(q, [0.1, 0.5, 0.9])
    error = sum(abs(q[bins == b].sum() - t[bins == b].sum()) for b in range(4)) / len(q)
    assert error < 0.03


def test_control_only_data_give_edges_no_more_often_than_the_rate_allows(planted):
    with_edges = 0
    for seed in range(20):
        screen = planted(
            np.random.default_rng(seed), n_perturbed=10, n_idle=10, loss=0.0, n_cells=50,
            depth=1000.0,
        ).screen  # fmt: skip
        with_edges += explain(screen, rng=np.random.default_rng(seed), max_fdr=0.05).n_edges > 0
    # at 5 % one of 20 is expected; three or more have a chance of 8 %, and none is drawn anew
    assert with_edges <= 2


def test_same_generator_gives_the_same_network(screen_with_edges):
    one, two = (explain(screen_with_edges.screen, rng=np.random.default_rng(7)) for _ in range(2))
    assert one.table().equals(two.table())


def test_edges_come_strongest_first_and_as_many_as_asked(screen_with_edges, rng):
    graph = explain(screen_with_edges.screen, method="knockout_z", rng=rng, n_edges=25)
    assert graph.n_edges == 25
    assert (np.diff(graph.weight) <= 0).all()
    everything = explain(screen_with_edges.screen, method="knockout_z", rng=rng)
    assert graph.weight.min() >= np.sort(everything.weight)[-25]


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"method": "knockout"}, UnknownNameError, "did you mean 'knockout_z'"),
        ({"method": "knockout_z", "max_fdr": 0.1}, ConfigError, "use one of: direct"),
        ({"max_fdr": 5.0}, ConfigError, "such as 0.05"),
        ({"n_edges": 0}, ConfigError, "at least 1"),
    ],
)
def test_a_wrong_wish_is_refused_in_plain_words(asked, error, words, screen_with_edges, rng):
    with pytest.raises(error, match=words):
        explain(screen_with_edges.screen, rng=rng, **asked)


def test_written_files_read_back(screen_with_edges, rng, tmp_path):
    graph = explain(screen_with_edges.screen, rng=rng, max_fdr=0.05)
    for suffix in ("tsv", "graphml", "sif"):
        save_graph(graph, tmp_path / f"grn.{suffix}")
    table = pl.read_csv(tmp_path / "grn.tsv", separator="\t")
    assert tuple(table.columns[:6]) == COLUMNS
    assert table.height == graph.n_edges
    assert table["weight"].is_sorted(descending=True)
    read = nx.read_graphml(tmp_path / "grn.graphml")
    assert set(read.edges) == set(zip(table["source"], table["target"], strict=True))
    first = (tmp_path / "grn.sif").read_text().splitlines()[0].split("\t")
    relation = "activates" if table["sign"][0] > 0 else "represses"
    assert first == [table["source"][0], relation, table["target"][0]]
    with pytest.raises(FileError, match="graphml"):
        save_graph(graph, tmp_path / "grn.doc")
