"""The two-sample kernels against scipy, and what the evaluation must say of known networks."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, wasserstein_distance

from perturbkit.core.graph import Graph
from perturbkit.grn.statistical import interventions, reachable, statistical
from perturbkit.grn.two_samples import compare as compare_sorted
from perturbkit.grn.two_samples import tie_sum, two_sided_p


def compare(a, b):
    distance, u, ties = compare_sorted(a, b, np.concatenate([[0.0], np.cumsum(b)]), tie_sum(b))
    return distance, u, two_sided_p(u, len(a), len(b), ties)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(9, 60), st.integers(9, 60), st.integers(2, 50))
def test_both_numbers_equal_scipys_with_ties(seed, n, m, levels):
    rng = np.random.default_rng(seed)
    a = np.sort(rng.integers(0, levels, n).astype(float))
    b = np.sort(rng.integers(0, levels, m) * rng.choice([1.0, 1.1]))
    distance, u, p_value = compare(a, b)
    expected = mannwhitneyu(a, b, method="asymptotic")
    assert distance == pytest.approx(wasserstein_distance(a, b), abs=1e-9)
    assert u == pytest.approx(expected.statistic)
    assert p_value == pytest.approx(min(expected.pvalue, 1.0), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_small_and_separate_samples_have_the_right_distance(n):
    rng = np.random.default_rng(n)
    a, b = np.sort(rng.normal(5, 1, n)), np.sort(rng.normal(-5, 1, 40))
    assert compare(a, b)[0] == pytest.approx(wasserstein_distance(a, b))
    assert compare(b, a)[0] == pytest.approx(wasserstein_distance(a, b))


def test_equal_and_constant_samples_do_not_differ():
    same = np.ones(10)
    distance, _, p_value = compare(same, same)
    assert (distance, p_value) == (0.0, 1.0)


@pytest.fixture(scope="module")
def held_out(screen_with_edges):
    return interventions(screen_with_edges.screen)


def total_graph(planted, names, *, turned=False, above=0.3):
    rows = [int(n[1:]) for n in names]
    total = planted.total_pg[np.ix_(rows, rows)]
    p, g = np.nonzero(np.abs(total) > above)
    source, target = (g, p) if turned else (p, g)
    table = {"source": [names[i] for i in source], "target": [names[i] for i in target]}
    return Graph.of(pl.DataFrame(table), directed=True, nodes=names)


def test_every_pair_is_tested_as_scipy_would(held_out, screen_with_edges):
    adata = screen_with_edges.screen.adata
    x = np.log1p(adata.X.toarray() / adata.X.sum(1).A1[:, None] * 1e4)
    labels = adata.obs["perturbation"].to_numpy().astype(str)
    for source, target in (("g3", "g9"), ("g6", "g11")):
        column = list(adata.var_names).index(target)
        one, two = x[labels == source, column], x[labels == "control", column]
        i, j = held_out.sources.index(source), held_out.sources.index(target)
        assert held_out.distance_pg[i, j] == pytest.approx(wasserstein_distance(one, two), 1e-5)
        assert held_out.p_value_pg[i, j] == pytest.approx(mannwhitneyu(one, two).pvalue, 1e-4)
    assert np.isnan(np.diag(held_out.p_value_pg)).all()


def test_the_true_network_moves_its_targets_and_a_turned_one_does_not(
    held_out, screen_with_edges, rng
):
    names = list(held_out.sources)
    true = statistical(total_graph(screen_with_edges, names), held_out, rng)
    wrong = statistical(total_graph(screen_with_edges, names, turned=True), held_out, rng)
    assert true["moved"] > 0.85
    assert true["moved"] > wrong["moved"] + 0.5
    assert true["mean_wasserstein"] > 2 * wrong["mean_wasserstein"]
    low, high = true["mean_wasserstein_interval"]
    assert low < true["mean_wasserstein"] < high


def test_the_false_omission_rate_depends_on_the_network(held_out, screen_with_edges, rng):
    names = list(held_out.sources)
    true = statistical(total_graph(screen_with_edges, names, above=0.05), held_out, rng)
    nothing = statistical(
        Graph.of(pl.DataFrame({"source": [names[0]], "target": [names[1]]}),
                 directed=True, nodes=names), held_out, rng)  # fmt: skip
    assert true["false_omission_rate_fdr"] < 0.8 * nothing["false_omission_rate_fdr"]
    everything = Graph.of(
        pl.DataFrame([(a, b) for a in names for b in names if a != b],
                     schema=["source", "target"], orient="row"),
        directed=True, nodes=names)  # fmt: skip
    full = statistical(everything, held_out, rng)
    assert full["n_omitted"] == 0
    assert np.isnan(full["false_omission_rate"])
    assert statistical(everything, held_out, rng, n_edges=7)["n_edges"] == 7


def test_paths_of_any_length_are_found():
    chain = np.zeros((4, 4), bool)
    chain[[0, 1, 2], [1, 2, 3]] = True
    assert (reachable(chain) == np.triu(np.ones((4, 4), bool), 1)).all()
