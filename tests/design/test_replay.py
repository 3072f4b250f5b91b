"""Replay on planted screens: signal is found, shuffled outcomes are not, nothing leaks."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from sklearn.metrics import average_precision_score

from perturbkit.core.graph import Graph
from perturbkit.design.knowledge import knowledge_of, neighbour_mean, set_company
from perturbkit.design.metrics import (
    ancestor_concordance,
    average_precision,
    curve_area,
    efficiency,
    paired_interval,
    regret,
    saved,
)
from perturbkit.design.policy import POLICIES, Policy, learning_target
from perturbkit.design.replay import ReplayPlan, replay, replay_policy, summarise
from perturbkit.design.tables import HitTable, open_replay, read_essentials

PLAN = ReplayPlan(rounds=3, batch=40, seeds=2)


def planted(n=800, seed=0):
    """Twenty modules of a network; hits fill two of them."""
    rng = np.random.default_rng(seed)
    label = rng.integers(20, size=n)
    a, b = rng.integers(n, size=(2, 40 * n))
    keep = (label[a] == label[b]) | (rng.random(40 * n) < 0.01)
    names = [f"G{i}" for i in range(n)]
    edges = pl.DataFrame(
        {"source": [names[i] for i in a[keep]], "target": [names[i] for i in b[keep]]}
    )
    graph = Graph.of(edges, directed=False, nodes=names)
    score = np.where(label < 2, 3.0, 0.0) + rng.normal(size=n) * 0.5
    table = HitTable("planted", tuple(names), score, score > 2)
    return table, knowledge_of(names, {"string": graph}, {}, rng, width=24), label


@pytest.fixture(scope="module")
def case():
    return planted()


@pytest.mark.parametrize(
    "name", ["greedy", "gp_ucb", "trees_greedy", "committee", "linear_bandit", "warm_kernels"]
)
def test_adaptive_policies_find_planted_modules(case, name):
    table, known, _ = case
    hits = replay_policy(name, POLICIES[name], table, known, PLAN).hits(table)[:, -1]
    expected = 120 * table.hit_c.mean()
    assert hits.mean() > 2.5 * expected
    control = table.shuffled(np.random.default_rng(5))
    lost = replay_policy(name, POLICIES[name], control, known, PLAN).hits(control)[:, -1]
    assert lost.mean() < 2.0 * expected


def test_every_policy_spends_the_budget_once_and_shares_the_first_batch(case):
    table, known, _ = case
    known = replace(known, essential_c=np.arange(800) < 100)
    plan = ReplayPlan(rounds=2, batch=30, seeds=2)
    quick = {n: p for n, p in POLICIES.items() if not n.startswith(("lpm", "botorch", "deep"))}
    results = replay(table, quick, known, plan)
    for result in results.values():
        assert result.chosen.shape == (2, 60)
        assert all(len(set(row)) == 60 for row in result.chosen.tolist())
    cold = [n for n, p in quick.items() if not p.warm and p.surrogate != "prior"]
    for name in cold:
        assert np.array_equal(results[name].chosen[:, :30], results["random"].chosen[:, :30])
    summary = summarise(results, table, np.random.default_rng(0))
    chance = summary.filter(policy="random").row(0, named=True)
    assert chance["low"] < 1 < chance["high"] + 0.8
    assert (summary["low"] <= summary["efficiency"]).all()
    assert (summary["efficiency"] <= summary["high"]).all()


def test_what_is_learned_uses_only_what_was_measured():
    score = np.array([5.0, -1.0, 0.0, 2.0, 99.0, -99.0])
    seen = np.where(np.arange(6) < 4, score, np.nan)
    hit = np.array([1.0, 0, 0, 0, np.nan, np.nan])
    target = learning_target(seen, hit, "high")
    assert np.isnan(target[4:]).all()
    assert target[0] > 1 > target[3] > target[1] == 0
    assert learning_target(seen, hit, "low")[1] > 0
    # whether unmeasured conditions are hits changes nothing
    other = learning_target(seen, np.array([1.0, 0, 0, 0, 1, 1]), "high")
    assert np.array_equal(target, other, equal_nan=True)
    assert np.isfinite(learning_target(seen, None, "both")[:4]).all()


def test_metrics_on_cases_done_by_hand():
    hits = np.array([1, 2, 2, 3])
    assert efficiency(3, 4, 100, 10) == pytest.approx(7.5)
    assert curve_area(np.arange(1, 5), 100, 10) == pytest.approx(1)
    assert curve_area(np.arange(1, 5) * 0.1, 100, 10) == pytest.approx(0)
    assert saved(hits, 2.0) == 0.5
    assert saved(hits, 6.0) == -1
    assert regret(hits, 3) == 0
    above = np.zeros((3, 3), bool)
    above[0, 1] = above[0, 2] = above[1, 2] = True
    assert ancestor_concordance(np.array([0, 1, 2]), above) == 1
    assert ancestor_concordance(np.array([0, 0, 0]), above) == 0.5
    rng = np.random.default_rng(0)
    score, truth = np.round(rng.normal(size=200), 1), rng.random(200) < 0.2
    assert average_precision(score, truth) == pytest.approx(average_precision_score(truth, score))


def test_paired_intervals_cancel_what_is_shared():
    rng = np.random.default_rng(0)
    hit = rng.random(500) < 0.3
    chosen = np.stack([rng.permutation(500)[:100] for _ in range(5)])
    assert paired_interval(chosen, chosen, hit, rng, 200) == (0, 0)
    low, high = paired_interval(chosen, None, hit, rng, 2000)
    assert low < hit[chosen].sum(1).mean() < high


def test_company_leaves_the_gene_itself_out():
    matrix = sparse.csr_array(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]))
    score = set_company(matrix, np.array([True, False, False, False]))
    assert score[0] == pytest.approx(0)
    assert score[1] > 0
    assert score[2] == 0
    a = sparse.csr_array(np.array([[0, 1.0, 1], [1, 0, 0], [1, 0, 0]]))
    known = np.array([False, True, True])
    near = neighbour_mean(a, np.array([99.0, 1.0, 3.0]), known, weight=0.0 + 1e-12)
    assert near[0] == pytest.approx(2)


@pytest.mark.data
def test_real_screens_open_and_beat_chance_by_degree(real_data):
    from perturbkit.design.gather import Hints, gather

    sizes = {"ifng": 18418, "il2": 18939, "sanchez": 18469, "nk": 20697, "sars_cov_2": 19112}
    for name, n in sizes.items():
        table = open_replay(name, real_data)
        assert len(table.conditions) == n
        assert 0.03 < table.hit_c.mean() < 0.06
    pairs = open_replay("horlbeck", real_data)
    assert len(pairs.conditions) == 100_576
    barred = read_essentials(real_data / "screens" / "CEGv2.txt")
    assert 650 < len(barred) < 700
    table = open_replay("il2", real_data).without(barred)
    small = table.select(np.arange(0, len(table.conditions), 4))
    known = gather(
        small.conditions, real_data / "graphs", np.random.default_rng(0),
        Hints(essentials=barred), width=4,
    )  # fmt: skip
    plan = ReplayPlan(rounds=1, batch=160, seeds=1)
    for name, floor in (("degree", 3), ("prior", 3)):
        hits = replay_policy(name, POLICIES[name], small, known, plan).hits(small)[0, -1]
        assert hits > floor * 160 * small.hit_c.mean()


def test_the_order_of_a_file_says_nothing(tmp_path):
    rows = [("C", 9.0), ("A", 5.0), ("B", 1.0)]  # sorted by outcome, as published files are
    table = pl.DataFrame(rows, schema=["Gene", "Score"], orient="row")
    table.with_columns(Hit=pl.col("Score") > 4).write_csv(tmp_path / "sorted.csv")
    opened = open_replay(tmp_path / "sorted.csv")
    assert opened.conditions == ("A", "B", "C")
    assert opened.score_c.tolist() == [5.0, 1.0, 9.0]


def test_an_agent_without_chance_is_played_once(case):
    table, known, _ = case
    calls = []

    def scores(known, target_c, rng):
        calls.append(1)
        return known.prior_c[None]

    plan = ReplayPlan(rounds=2, batch=30, seeds=3)
    fixed = replay_policy("agent", Policy("greedy", agent=scores), table, known, plan)
    assert len(calls) == 2
    assert (fixed.chosen == fixed.chosen[0]).all()
    replay_policy("agent", Policy("greedy", agent=scores, agent_by_chance=True), table, known, plan)
    assert len(calls) == 2 + 6
    assert not Policy("thompson", agent=scores).is_fixed
