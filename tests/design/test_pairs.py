"""Pairs: planted gene effects and planted interactions of alike genes are found."""

import itertools

import numpy as np
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.design.knowledge import Knowledge
from perturbkit.design.pairs import PairPool, members_of
from perturbkit.design.policy import Policy
from perturbkit.design.replay import ReplayPlan, replay_policy
from perturbkit.design.tables import HitTable


def pool(n=40, groups=8):
    names = [f"G{i:02d}" for i in range(n)]
    conditions = tuple("+".join(p) for p in itertools.combinations(names, 2))
    genes, member = members_of(conditions)
    assert genes == names
    embedding = np.eye(groups)[np.arange(n) % groups]
    known = Knowledge(embedding.astype(np.float32), {}, np.zeros(n), sources=(embedding,))
    return conditions, PairPool(member, known)


def found(score, *, relatives):
    conditions, pairs = pool()
    table = HitTable("planted", conditions, score, score > np.quantile(score, 0.95))
    policy = Policy("greedy", agent=pairs.surrogate(relatives=relatives), agent_by_chance=True)
    plan = ReplayPlan(rounds=3, batch=40, seeds=2)
    hits = replay_policy("p", policy, table, pairs.knowledge(), plan).hits(table)[:, -1]
    return float(hits.mean() / (120 * table.hit_c.mean()))


def test_effects_of_genes_are_learned_from_their_other_pairs():
    conditions, pairs = pool()
    rng = np.random.default_rng(0)
    gene = np.where(np.arange(40) < 4, 4.0, 0.0)
    score = gene[pairs.member_c2].sum(1) + 0.3 * rng.normal(size=len(conditions))
    assert found(score, relatives=False) > 2.5
    assert found(rng.permutation(score), relatives=False) < 2.0


def test_interactions_of_alike_genes_need_the_kernel_of_pairs():
    conditions, pairs = pool()
    rng = np.random.default_rng(1)
    group = np.sort(pairs.member_c2 % 8, axis=1)
    special = (group == [0, 1]).all(1) | (group == [2, 3]).all(1)
    score = 4.0 * special + 0.3 * rng.normal(size=len(conditions))
    assert found(score, relatives=True) > found(score, relatives=False) + 0.5


def test_a_condition_that_is_no_pair_is_refused():
    with pytest.raises(SchemaError, match="no pair"):
        members_of(["A+B", "C"])
    with pytest.raises(SchemaError, match="no pair"):
        members_of(["A+A"])
