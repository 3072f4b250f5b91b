"""Joining networks, and time series."""

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.grn.combine import mean_rank, supported
from perturbkit.grn.from_model import from_model
from perturbkit.grn.lagged import lagged, lagged_correlation


def graph(edges, nodes="abc", *, directed=True, **columns):
    table = pl.DataFrame(edges, schema=["source", "target", "weight", "sign"], orient="row")
    return Graph.of(table.with_columns(**columns), directed=directed, nodes=list(nodes))


ONE = graph([("a", "b", 3.0, 1), ("a", "c", 2.0, -1), ("b", "c", 1.0, 1)])


def test_support_raises_shared_edges_and_their_odds_and_drops_the_rate():
    found = graph([("a", "b", 2.0, 1), ("a", "c", 2.0, 1)],
                  probability=pl.Series([0.5, 0.5]), fdr=pl.Series([0.1, 0.1]))  # fmt: skip
    database = graph([("b", "a", 5.0, 0), ("a", "c", 10.0, 0), ("x", "y", 1.0, 0)], "cxbya",
                     directed=False)  # fmt: skip
    joined = supported(found, database, gain=2.0)
    assert joined.weight == pytest.approx([2 * np.exp(1.0), 2 * np.exp(2.0)], rel=1e-5)
    odds = joined.columns["probability"] / (1 - joined.columns["probability"])
    assert odds == pytest.approx([np.exp(1.0), np.exp(2.0)], rel=1e-4)
    assert "fdr" not in joined.columns


def test_mean_rank_of_one_network_keeps_its_order_and_signs():
    joined = mean_rank([ONE])
    assert joined.table().select("source", "target", "sign").rows() == [
        ("a", "b", 1), ("a", "c", -1), ("b", "c", 1)]  # fmt: skip


def test_mean_rank_prefers_what_several_agree_on():
    two = graph([("a", "c", 9.0, -1), ("c", "b", 8.0, 1)], "cba")
    assert mean_rank([ONE, two]).table().row(0)[:2] == ("a", "c")
    with pytest.raises(SchemaError, match="different nodes"):
        mean_rank([ONE, graph([("a", "b", 1.0, 1)], "ab")])
    with pytest.raises(SchemaError, match="at least one"):
        mean_rank([])


def test_the_past_of_the_driver_goes_with_the_present_of_the_driven():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(6, 40, 3))
    series[:, 1:, 1] = series[:, :-1, 0] + 0.1 * series[:, 1:, 1]
    assert lagged(series, Vocabulary("abc", "gene")).table().row(0)[:2] == ("a", "b")
    x, y = (s - s.mean(1, keepdims=True) for s in (series[..., 0], series[..., 1]))
    expected = np.corrcoef(x[:, :-1].ravel(), y[:, 1:].ravel())[0, 1]
    assert lagged_correlation(series)[0, 1] == pytest.approx(expected)
    with pytest.raises(SchemaError, match="more time points"):
        lagged_correlation(series, lag=40)


def test_only_models_that_learn_networks_give_one():
    class Learned:
        def graph(self):
            return ONE

    assert from_model(Learned()) is ONE
    with pytest.raises(Exception, match="learns no network"):
        from_model(object())
