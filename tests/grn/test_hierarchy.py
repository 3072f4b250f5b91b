"""Heights order a network; a true order scores one and a turned one minus one."""

import numpy as np
import polars as pl
import pytest

from perturbkit.core.graph import Graph
from perturbkit.grn.hierarchy import against_hierarchy, heights


def graph(edges, nodes="abcdef"):
    table = pl.DataFrame(edges, schema=["source", "target"], orient="row")
    return Graph.of(table, directed=True, nodes=list(nodes))


CHAIN = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "e")]


def test_heights_fall_by_one_along_a_chain_and_stay_level_in_a_cycle():
    chain = graph(CHAIN[:3]).adjacency.toarray()
    assert np.diff(heights(chain)[:4]) == pytest.approx([-1, -1, -1])
    cycle = graph([("a", "b"), ("b", "c"), ("c", "a")]).adjacency.toarray()
    assert heights(cycle) == pytest.approx(np.zeros(6))


def test_the_true_order_scores_one_and_a_turned_order_minus_one():
    truth = graph(CHAIN)
    levels = np.array([0, 1, 2, 3, 1, 0])
    same = against_hierarchy(truth, truth, levels)
    assert same["kendall_tau"] == pytest.approx(1.0)
    assert same["n_nodes"] == 5
    turned = against_hierarchy(graph([(b, a) for a, b in CHAIN]), truth, levels)
    assert turned["kendall_tau"] == pytest.approx(-1.0)
    assert turned["ancestor_auroc"] < 0.2 < 0.8 < same["ancestor_auroc"]


def test_an_empty_network_has_no_order():
    assert np.isnan(against_hierarchy(graph([("a", "b")]), graph(CHAIN))["kendall_tau"])
