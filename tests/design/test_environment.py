"""The environment keeps Gymnasium's contract, the budget and the mask."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from perturbkit.core.condition import Condition
from perturbkit.core.errors import SchemaError
from perturbkit.data.simulate import draw_world, preset
from perturbkit.design.environment import DesignEnv, ReplayOracle, Rules, SimulatorOracle
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
