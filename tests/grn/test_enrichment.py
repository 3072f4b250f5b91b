"""Gene sets behind a regulator's targets, against scipy's exact test."""

import polars as pl
import pytest
from scipy.stats import fisher_exact

from perturbkit.core.graph import Graph
from perturbkit.grn.enrichment import enrichment

NODES = [f"g{i}" for i in range(100)]


def network():
    rows = [("g0", f"g{i}") for i in range(10, 20)] + [("g1", f"g{i}") for i in range(40, 70, 3)]
    rows += [("g2", "g5")]
    table = pl.DataFrame(rows, schema=["source", "target"], orient="row")
    return Graph.of(table, directed=True, nodes=NODES)


def test_a_planted_set_comes_first_with_the_exact_p_value():
    sets = {"module": [f"g{i}" for i in range(12, 24)], "other": NODES[30:60], "tiny": ["g10"],
            "elsewhere": ["x", "y"]}  # fmt: skip
    table = enrichment(network(), sets)
    best = table.row(0, named=True)
    assert (best["source"], best["set"], best["n_shared"]) == ("g0", "module", 8)
    expected = fisher_exact([[8, 2], [4, 86]], alternative="greater").pvalue
    assert best["p_value"] == pytest.approx(expected)
    assert best["fold"] == pytest.approx(8 / 1.2)
    assert set(table["set"]) == {"module", "other"}
    assert set(table["source"]) == {"g0", "g1"}
    assert (table["fdr"] >= table["p_value"]).all()


def test_nothing_to_test_gives_an_empty_table():
    assert enrichment(network(), {"tiny": ["g1"]}).height == 0
