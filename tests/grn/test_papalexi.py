"""Real cells: the interferon chain is found in order, and silent targets stay silent."""

import numpy as np
import polars as pl
import pytest

from perturbkit.data.screens import open_screen
from perturbkit.grn.explain import explain

SILENT = ["ATF2", "CAV1", "CD86", "ETV7", "IRF7", "MARCH8", "MYC", "PDCD1LG2", "STAT5A"]


@pytest.mark.data
def test_the_chain_is_found_and_silent_targets_have_no_edge(real_data):
    screen = open_screen(real_data / "papalexi2021" / "papalexi2021_eccite_299genes.h5ad")
    table = explain(screen, rng=np.random.default_rng(0), max_fdr=0.05).table()
    edges = set(table.select("source", "target").iter_rows())
    assert {("IFNGR1", "JAK2"), ("IFNGR2", "JAK2"), ("JAK2", "STAT1")} <= edges
    assert not {("STAT1", "IFNGR2"), ("IFNGR1", "STAT1"), ("IFNGR2", "STAT1")} & edges
    chain = table.filter(pl.col("source").is_in(["IFNGR1", "IFNGR2"]), pl.col("target") == "JAK2")
    assert (chain["sign"] == 1).all()
    assert not set(SILENT) & set(table["source"])
