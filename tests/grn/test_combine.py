"""Joining networks, and time series."""

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.grn.combine import learned_gain, mean_rank, supported, supported_by
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


def agreement(share, seed=0):
    """An inferred network of 200 edges, half of them likely, and a database of 60 of them."""
    rng = np.random.default_rng(seed)
    names = [f"g{i}" for i in range(25)]
    pairs = [(a, b) for a in names for b in names if a != b]
    chosen = [pairs[int(i)] for i in rng.permutation(len(pairs))[:200]]
    likely = np.r_[np.full(100, 0.9), np.full(100, 0.05)]
    found = graph([(a, b, p, 1) for (a, b), p in zip(chosen, likely, strict=True)], names,
                  probability=pl.Series(likely), fdr=pl.Series(1 - likely),
                  effect_fdr=pl.Series(np.zeros(200)))  # fmt: skip
    n = round(60 * share)
    known = [*chosen[:n], *chosen[100 : 160 - n]]
    return found, graph([(a, b, 1.0, 0) for a, b in known], names)


def test_a_database_gets_as_much_say_as_it_agrees():
    found, good = agreement(0.9)
    assert learned_gain(found, good) > 1.0
    for share in (0.5, 0.1):
        assert learned_gain(*agreement(share)) == pytest.approx(0.0, abs=0.2)
    joined, rows = supported_by(found, {"good": good, "useless": agreement(0.1, seed=0)[1]})
    assert [r["network"] for r in rows] == ["good", "useless"]
    assert rows[0]["shared_edges"] == 60
    assert joined.columns["probability"][0] > found.columns["probability"][0]
    # rates follow the probabilities, never below those of the effects
    assert joined.columns["fdr"][0] == pytest.approx(1 - joined.columns["probability"][0], abs=1e-5)
    doubtful = found.select(np.arange(200))
    doubtful.columns["effect_fdr"][:] = 0.4
    assert supported(doubtful, good).columns["fdr"].min() == pytest.approx(0.4)
