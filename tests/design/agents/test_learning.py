"""Agents learn what is planted, their probabilities add up, the curriculum promotes on success."""

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from perturbkit.cli.main import run
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.rng import named_rng
from perturbkit.design.agents import AGENTS, AgentConfig
from perturbkit.design.agents.curriculum import STAGES, Curriculum
from perturbkit.design.agents.episode import play
from perturbkit.design.agents.features import FEATURES, N_FEATURES, PoolView, agreement, ridge
from perturbkit.design.agents.network import ordered_log_probability
from perturbkit.design.agents.store import load_agent
from perturbkit.design.agents.tasks import blurred, draw_training_world, most_extreme, part_of
from perturbkit.design.agents.topologies import read_topology
from perturbkit.design.agents.training import train_agent
from perturbkit.design.policy import policy_named


@pytest.fixture(scope="module")
def world():
    return draw_training_world(STAGES[1], np.random.default_rng(3))


def test_probabilities_of_ordered_choices_add_up_to_one():
    score = torch.tensor([0.3, -1.0, 2.0, 0.5])
    free = torch.tensor([True, True, False, True])
    total = sum(
        ordered_log_probability(score, free, torch.tensor(order)).sum().exp().item()
        for order in itertools.permutations([0, 1, 3], 2)
    )
    assert total == pytest.approx(1.0, abs=1e-6)
    every = ordered_log_probability(score, free, torch.tensor([3, 0, 1]))
    assert every[-1].item() == pytest.approx(0.0, abs=1e-6)  # one is left


def test_features_are_the_same_whatever_else_is_in_the_pool(world):
    n = len(world.names)
    target = np.full(n, np.nan)
    blind = world.view.features(target)
    assert blind.shape == (n, N_FEATURES)
    assert np.isfinite(blind).all()
    trusts = [FEATURES.index(f"trust_{s}") for s in ("near_1", "ridge")]
    assert (blind[:, trusts] == 0).all()
    # outcomes that the first network explains are trusted, permuted ones are not
    rng = np.random.default_rng(0)
    smooth = world.view.knowledge.features_cd[:, 1]  # an eigenvector of the first network
    planted = smooth >= np.quantile(smooth, 0.8)
    rows = rng.permutation(n)[: n // 2]
    target[rows] = planted[rows].astype(float)
    near = world.view.features(target)[0, FEATURES.index("trust_near_1")]
    target[rows] = rng.permutation(target[rows])
    assert near > 0.15 + abs(world.view.features(target)[0, FEATURES.index("trust_near_1")])


def test_ridge_left_out_predictions_are_those_of_refits(world):
    known = world.view.knowledge
    rows = np.arange(0, 60, 2)
    y = known.scaled_cd[rows, 0] + 0.1 * np.random.default_rng(0).normal(size=len(rows))
    mean, _, left_out = ridge(known, rows, y)
    assert agreement(left_out, y) < agreement(mean[rows], y)
    # oracle: the closed form by hand, at the ratio that the evidence chose
    z = (y - y.mean()) / y.std()
    best = min(
        (np.abs(_refit(known.scaled_cd[rows], z, ratio) - left_out).max())
        for ratio in (1.0, 10.0, 100.0, 1000.0)
    )
    assert best < 1e-8


def _refit(x, z, ratio):
    out = np.empty(len(z))
    for i in range(len(z)):
        keep = np.arange(len(z)) != i
        k = x[keep] @ x[keep].T / ratio + np.eye(keep.sum())
        out[i] = x[i] @ x[keep].T / ratio @ np.linalg.solve(k, z[keep])
    return out


@pytest.mark.parametrize("name", ["actor_critic", "dqn"])
def test_an_agent_learns_which_feature_finds_hits(name, world):
    """Hits are the genes of highest degree: a trained agent knows, an untrained one does not."""
    degree = world.view.degrees[0] + 0.01 * np.arange(len(world.names)) / len(world.names)
    task = world.draw(named_rng(0, "task"))
    hit = degree >= np.quantile(degree, 0.9)
    table = type(task.table)("planted", world.names, hit * 3.0, hit)
    task = type(task)(table, world.view, 3, 8)
    config = AgentConfig(learning_rate=4e-2, explore=0.5)
    learner = AGENTS[name].build(config, np.random.default_rng(1))
    before = _greedy(learner, task)
    for i in range(15):
        episodes = [play(task, lambda e: learner.act(e, 0.0), named_rng(i, "p", j)) for j in (0, 1)]
        learner.learn(episodes, 0.0)
    assert before < 5.0
    assert _greedy(learner, task) > 7.0  # of 10 that are possible


def _greedy(learner, task):
    def act(episode):
        with torch.no_grad():
            out = learner.network(torch.from_numpy(episode.x_cf), task.view.adjacency)
        return out["policy"].numpy()

    return play(task, act, np.random.default_rng(0)).efficiency


def test_promotion_follows_success_alone():
    curriculum = Curriculum(STAGES[:3], window=4)
    assert not any(curriculum.record([1.0]) for _ in range(50))
    assert curriculum.stage is STAGES[0]
    assert curriculum.record([9.0] * 4)
    assert curriculum.stage is STAGES[1]
    assert not curriculum.record([9.0])  # the window starts anew
    assert curriculum.record([9.0] * 3)
    assert not curriculum.record([9.0] * 8)  # nothing comes after the last


def test_worlds_look_as_real_screens_do(world):
    task = world.draw(np.random.default_rng(0))
    assert task.table.hit_c.sum() == round(0.05 * len(world.names))
    assert world.effect_cg.shape[0] == len(world.names) < world.effect_cg.shape[1]
    assert most_extreme(np.array([0.0, 0, 0, 5, -9])).tolist() == [0, 0, 0, 0, 1]
    quiet = STAGES[0]
    a, b = np.array([0, 1, 2, 3] * 50), np.array([4, 5, 6, 7] * 50)
    left, right = blurred(a, b, np.arange(8) % 2, quiet, np.random.default_rng(0))
    kept = np.isin(left * 8 + right, a * 8 + b)
    assert kept.sum() >= 0.6 * len(a)


def test_real_wiring_is_read_cut_and_used(tmp_path):
    rng = np.random.default_rng(0)
    tf = [f"TF{i % 12}" for i in range(600)]
    target = [f"G{i}" for i in rng.integers(300, size=600)]
    path = tmp_path / "wiring.csv"
    pl.DataFrame({"tf": tf, "target": target}).write_csv(path)
    graph = read_topology(path)
    assert graph.directed
    part = part_of(graph, 150, rng)
    assert 100 <= len(part.nodes) <= 200
    always = replace(STAGES[1], real_topologies=1.0)
    used = draw_training_world(always, np.random.default_rng(1), [graph])
    assert set(used.names) <= set(graph.nodes)
    pl.DataFrame({"a": ["x"], "b": ["y"]}).write_csv(path)
    with pytest.raises(SchemaError, match="source \\(or tf\\)"):
        read_topology(path)
    pl.DataFrame({"source": ["x"], "target": ["y"]}).write_csv(path)
    with pytest.raises(SchemaError, match="at least 50"):
        read_topology(path)


def test_a_damaged_agent_is_refused(tmp_path):
    config = AgentConfig(n_updates=1, episodes=1, worlds=1, n_test=1, max_stage=0)
    train_agent("actor_critic", config, 0, out=tmp_path / "a")
    weights = tmp_path / "a" / "agent.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(FileError, match="train it again"):
        load_agent(tmp_path / "a")
    with pytest.raises(FileError, match="no agent"):
        load_agent(tmp_path / "b")


def test_the_command_trains_and_refuses_to_overwrite(tmp_path, capsys):
    out = str(tmp_path / "agent")
    given = ["design", "train-agent", "dqn", "-o", out, "--updates", "1", "--max-stage", "0"]
    assert run(given) == 0
    assert policy_named(out).agent is not None
    assert run(given) == 2
    assert "holds a trained agent" in capsys.readouterr().err
    assert run(["design", "train-agent", "dqm", "-o", out]) == 2
    assert "did you mean 'dqn'" in capsys.readouterr().err


def test_a_view_is_of_one_pool(world):
    assert PoolView(world.view.knowledge).adjacency.shape == (len(world.names),) * 2
