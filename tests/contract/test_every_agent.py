"""Every agent: trains on simulated screens, is stored, scores pools of any size, and repeats."""

import numpy as np
import pytest

from perturbkit.core.errors import FileError
from perturbkit.core.rng import named_rng
from perturbkit.design.agents import AGENTS, AgentConfig
from perturbkit.design.agents.curriculum import STAGES
from perturbkit.design.agents.features import PoolView
from perturbkit.design.agents.store import is_agent, load_agent, refuse_agent
from perturbkit.design.agents.tasks import draw_training_world
from perturbkit.design.agents.training import play_greedily, train_agent
from perturbkit.design.policy import Chooser, policy_named

QUICK = AgentConfig(
    n_updates=3, episodes=2, worlds=1, n_test=1, max_stage=0, window=2, test_every=2
)


@pytest.fixture(scope="module")
def worlds():
    rng = np.random.default_rng(5)
    return [draw_training_world(STAGES[0], rng) for _ in range(2)]


@pytest.mark.parametrize("name", AGENTS)
def test_it_trains_is_stored_and_repeats(name, tmp_path, worlds):
    agent, records = train_agent(name, QUICK, 0, out=tmp_path / "agent")
    again, _ = train_agent(name, QUICK, 0)
    assert [r["update"] for r in records] == [0, 1, 2]
    assert all(np.isfinite(r["loss"]) for r in records)
    assert is_agent(tmp_path / "agent")
    with pytest.raises(FileError, match="holds a trained agent"):
        refuse_agent(tmp_path / "agent")
    stored = load_agent(tmp_path / "agent")
    for world in worlds:  # pools of different sizes
        n = len(world.names)
        target = np.full(n, np.nan)
        target[:20] = np.arange(20) % 2
        score = stored.scores(world.view, target)
        assert score.shape == (n,)
        assert np.isfinite(score).all()
        np.testing.assert_array_equal(score, agent.scores(world.view, target))
        np.testing.assert_array_equal(score, again.scores(world.view, target))
    # as a policy: named by its folder, it fills every batch, the first as well
    chooser = Chooser(
        policy_named(str(tmp_path / "agent")), list(world.names), world.view.knowledge
    )
    taken = ~np.isnan(target)
    chosen, _ = chooser.choose(np.full(n, np.nan), taken, 10, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 10
    assert not taken[chosen].any()


@pytest.mark.parametrize("name", AGENTS)
def test_it_plays_every_round_and_repeats_nothing(name, worlds):
    agent, _ = train_agent(name, QUICK.replace(n_updates=1), 1)
    task = worlds[0].draw(named_rng(0, "task"))
    episode = play_greedily(agent, task)
    assert len(np.unique(episode.chosen)) == task.rounds * task.batch == episode.n_chosen
    assert episode.n_hits == task.table.hit_c[episode.chosen].sum()


@pytest.mark.parametrize("name", AGENTS)
def test_order_of_the_pool_changes_nothing(name, worlds):
    agent, _ = train_agent(name, QUICK.replace(n_updates=1), 2)
    known = worlds[0].view.knowledge
    target = np.where(np.arange(len(known.prior_c)) < 30, 0.2, np.nan)
    target[:4] = 1.2
    order = np.random.default_rng(0).permutation(len(target))
    here = agent.scores(PoolView(known), target)
    there = agent.scores(PoolView(known.select(order)), target[order])
    np.testing.assert_allclose(there, here[order], rtol=1e-3, atol=1e-3)


def test_twins_have_as_many_weights():
    def size(name):
        network = AGENTS[name].build(QUICK, np.random.default_rng(0)).network
        return sum(p.numel() for p in network.parameters() if p.ndim)

    assert size("actor_critic") == size("actor_critic_euclidean")
    assert size("dqn") == size("dqn_euclidean")
