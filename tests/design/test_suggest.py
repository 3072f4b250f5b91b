"""Suggestions: candidates only, best first, with reasons a person can read."""

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import SchemaError, UnknownNameError
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.design.suggest import suggest


def responses(m=3):
    rng = np.random.default_rng(0)
    names = ["control", *[f"G{i}" for i in range(8)]]
    values = rng.normal(size=(m, 9, 4)) * 0.01 + 1.0
    values[:, 1:, :] += np.arange(8)[None, :, None] * 0.1
    status = ["measured", "measured", *["neighbour"] * 6, "refused"]
    table = pl.DataFrame({"perturbation": names, "status": status})
    return Responses(values, table, Vocabulary(list("abcd"), "readout"), "log1p_cp10k")


def test_the_largest_predicted_changes_come_first():
    table = suggest(responses(), 3, np.random.default_rng(0), exclude=["G5"])
    assert table["perturbation"].to_list() == ["G6", "G4", "G3"]
    assert table["rank"].to_list() == [1, 2, 3]
    assert table["predicted"].is_sorted(descending=True)
    assert table["uncertainty"].null_count() == 0
    assert all("predicted" in r for r in table["reason"])


def test_what_is_missing_is_said():
    rng = np.random.default_rng(0)
    with pytest.raises(SchemaError, match="needs the spread of an ensemble"):
        suggest(responses(1), 2, rng, policy="ucb")
    with pytest.raises(SchemaError, match="needs a network"):
        suggest(responses(), 2, rng, policy="degree")
    with pytest.raises(SchemaError, match="7 conditions are asked for and 6 are left"):
        suggest(responses(), 7, rng)
    with pytest.raises(UnknownNameError, match="did you mean 'greedy'"):
        suggest(responses(), 2, rng, policy="gredy")
    assert suggest(responses(1), 2, rng)["uncertainty"].null_count() == 2


def test_a_network_ranks_hubs():
    edges = pl.DataFrame({"source": ["G2"] * 4, "target": ["G3", "G4", "G5", "X"]})
    graph = Graph.of(edges, directed=False)
    table = suggest(responses(), 1, np.random.default_rng(0), policy="degree", graph=graph)
    assert table["perturbation"].to_list() == ["G2"]
