"""The environment keeps Gymnasium's contract, the budget and the mask."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from perturbkit.core.condition import Condition
from perturbkit.core.errors import SchemaError
from perturbkit.data.simulate import draw_world, preset
from perturbkit.design.constraints import Rules, permitted
from perturbkit.design.environment import BatchDesignEnv, DesignEnv
from perturbkit.design.oracles import (
    ReplayOracle,
    ResponseOracle,
    SimulatorOracle,
    combinations,
)
from perturbkit.design.tables import HitTable


def table(n=20):
    score = np.arange(n, dtype=float)
    return HitTable("t", tuple(f"G{i}" for i in range(n)), score, score >= 15)


class Sampled(DesignEnv):
    """The checker acts by chance, so what it draws has to lie in the mask."""

    def step(self, action):
        free = np.flatnonzero(self.mask)
        return super().step(free[int(action) % len(free)])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasium_accepts_it():
    check_env(Sampled(ReplayOracle(table()), Rules(budget=5)), skip_render_check=True)


def test_budget_mask_and_rewards():
    barred = np.arange(20) != 19
    cost = np.where(np.arange(20) == 18, 3.0, 1.0)
    env = DesignEnv(ReplayOracle(table()), Rules(budget=4), cost=cost, allowed=barred)
    _, info = env.reset(seed=0)
    assert info["mask"].sum() == 19
    seen, reward, over, _, info = env.step(18)
    assert (reward, over, info["spent"]) == (1.0, False, 3.0)
    assert seen["measured"].sum() == 1
    for bad in (18, 19, 99):
        with pytest.raises(SchemaError, match="may not be chosen"):
            env.step(bad)
    _, reward, over, _, _ = env.step(0)
    assert (reward, over) == (0.0, True)


def test_noise_depends_on_the_seed_alone():
    env = DesignEnv(ReplayOracle(table()), Rules(budget=6, batch=2, noise=0.1, batch_noise=1.0))
    runs = []
    for seed in (1, 1, 2):
        env.reset(seed=seed)
        for i in range(6):
            seen, *_ = env.step(i)
        runs.append(seen["outcome"][:6])
    assert np.array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])
    # a round's error is shared: within a round values lie closer than between rounds
    pairs = np.asarray(runs[0]).reshape(3, 2)
    assert np.abs(np.diff(pairs, axis=1)).mean() < np.abs(np.diff(pairs.mean(1))).mean()


def test_a_simulated_world_answers_singles_and_combinations(rng):
    world = draw_world(preset("tiny"), rng, None)
    genes, context = list(world.genes)[:12], world.contexts[0]
    singles = [Condition((g,), context, world.config.kind) for g in genes]
    pairs = [Condition((genes[0], g), context, world.config.kind) for g in genes[1:4]]
    oracle = SimulatorOracle(world, tuple(singles + pairs), top_share=0.2)
    assert oracle.n_conditions == 15
    assert 2 <= (oracle.outcome(np.arange(15)) >= oracle.hit_above).sum() <= 4
    env = DesignEnv(oracle, Rules(budget=15))
    env.reset(seed=0)
    total = sum(env.step(i)[1] for i in range(15))
    assert total == (oracle.outcome(np.arange(15)) >= oracle.hit_above).sum()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("reveal", ["hits", "scores"])
def test_gymnasium_accepts_the_environment_of_batches_as_it_is(reveal):
    rules = Rules(budget=12, batch=4, rounds=2, noise=0.1, batch_noise=0.2)
    check_env(BatchDesignEnv(ReplayOracle(table(), reveal), rules), skip_render_check=True)


def test_a_batch_is_the_best_that_may_be_chosen_within_budget_and_rounds():
    cost = np.where(np.arange(20) == 17, 5.0, 1.0)
    env = BatchDesignEnv(
        ReplayOracle(table()), Rules(budget=9, batch=3, rounds=3), cost=cost,
        allowed=np.arange(20) != 19,
    )  # fmt: skip
    env.reset(seed=0)
    _, reward, over, _, info = env.step(np.arange(20.0))
    assert info["chosen"].tolist() == [18, 17, 16]  # 19 is barred
    assert (reward, over, info["spent"], info["round"]) == (3.0, False, 7.0, 1)
    _, reward, over, _, info = env.step(np.arange(20.0))
    assert info["chosen"].tolist() == [15, 14]  # two more is all the budget pays
    assert (reward, over, info["hits"]) == (1.0, True, 4)
    with pytest.raises(SchemaError, match="20 finite scores"):
        env.step(np.full(20, np.nan))
    env = BatchDesignEnv(ReplayOracle(table()), Rules(budget=99, batch=3, rounds=2))
    env.reset(seed=0)
    assert [env.step(np.zeros(20))[2] for _ in range(2)] == [False, True]


def test_lists_of_genes_and_shares_of_a_gene_are_kept():
    names = ("A", "B", "C", "A+B", "A+C", "B+C")
    pairs = HitTable("t", names, np.arange(6.0), np.arange(6) >= 3)
    oracle = ReplayOracle(pairs)
    assert permitted(oracle.targets, exclude=["C"]).tolist() == [1, 1, 0, 1, 0, 0]
    assert permitted(oracle.targets, only=["A", "C"], max_targets=1).tolist() == [1, 0, 1, 0, 0, 0]
    assert combinations(oracle, ["A", "B"]).tolist() == [0, 0, 0, 1, 0, 0]
    with pytest.raises(SchemaError, match="leave none of 6"):
        permitted(oracle.targets, only=["a"])
    env = BatchDesignEnv(oracle, Rules(budget=6, batch=6, per_gene=1))
    env.reset(seed=0)
    chosen = env.step(np.array([0, 0, 1, 9, 8, 7.0]))[4]["chosen"]
    assert chosen.tolist() == [3, 2]  # A+B, then only C is free
    with pytest.raises(SchemaError, match="rounds is -1"):
        Rules(rounds=-1)
    with pytest.raises(SchemaError, match="'hits' or 'scores'"):
        ReplayOracle(pairs, "p-values")


def test_measured_responses_answer_by_their_size(planted_law):
    oracle = ResponseOracle(planted_law.truth, top_share=0.1)
    assert oracle.n_conditions == len(planted_law.truth.keys) - 3
    every = np.arange(oracle.n_conditions)
    assert 0.08 < oracle.hits(every).mean() < 0.13
    assert oracle.response(every[:2]).shape == (2, 60)
    largest = int(oracle.outcome(every).argmax())
    assert oracle.hits(np.array([largest])).all()
    assert {len(t) for t in oracle.targets} == {1, 2}


def test_a_simulated_oracle_knows_edges_and_hierarchy(rng):
    world = draw_world(preset("tiny"), rng, None)
    oracle = SimulatorOracle(
        world, tuple(Condition((g,), world.contexts[0], world.config.kind) for g in world.genes)
    )
    up, down = np.nonzero(oracle.ancestors)
    assert (oracle.edges.toarray() > 0).sum() == oracle.edges.nnz > 60
    # without an active path nothing moves, and whoever moves lies below
    moved = np.abs(oracle.effect_cg) > 1e-3
    np.fill_diagonal(moved, False)
    reach = oracle.ancestors | oracle.ancestors.T
    assert moved.sum() > 0
    assert (moved & ~reach).sum() < 0.1 * moved.sum()  # but for cycles
    # feedback lets a low gene be above a middle one
    assert (oracle.level_g[up] < oracle.level_g[down]).mean() > 0.8
