"""Training an agent by the curriculum, on simulated screens alone."""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.files import write_text
from perturbkit.core.graph import Graph
from perturbkit.core.rng import named_rng
from perturbkit.design.agents import AGENTS
from perturbkit.design.agents.card import AgentCard, AgentConfig, Learner
from perturbkit.design.agents.curriculum import STAGES, Curriculum
from perturbkit.design.agents.episode import DesignTask, Episode, play
from perturbkit.design.agents.store import Agent, save_agent
from perturbkit.design.agents.tasks import TrainingWorld, draw_training_world

TEST_SEED = 1_000_003
"""Seeds the held-out worlds: the same for every agent, and of no training world."""
Record = dict[str, Any]


def train_agent(
    name: str, config: AgentConfig, seed: int, *, topologies: Sequence[Graph] = (),
    out: str | Path | None = None, watch: Callable[[int, int, Record], None] | None = None,
) -> tuple[Agent, list[Record]]:  # fmt: skip
    """Train one agent.

    Args:
        name: which agent of the catalogue.
        config: its settings.
        seed: of weights, worlds and exploration.
        topologies: real directed networks whose wiring some worlds take.
        out: the agent's folder; None writes nothing.
        watch: told (update, n_updates, record) after each update.

    Returns:
        The agent and its learning curve, one record for each update.
    """
    card = AGENTS[name]
    learner = card.build(config, named_rng(seed, "agent", name))
    curriculum = Curriculum(STAGES[: config.max_stage + 1], config.window)
    worlds: list[TrainingWorld] = []
    tests = held_out_tasks(config, topologies)
    records, started = [], time.monotonic()
    for update in range(config.n_updates):
        if not worlds:
            worlds = _worlds(config, curriculum.position, seed, topologies)
        done = update / config.n_updates
        tasks = _draw(worlds, config.episodes, named_rng(seed, "tasks", update))
        act = partial(learner.act, share_done=done)
        episodes = [play(t, act, named_rng(seed, "play", update, i)) for i, t in enumerate(tasks)]
        loss = learner.learn(episodes, done)
        found = [e.efficiency for e in episodes]
        record: Record = {
            "update": update, "stage": curriculum.stage.name, "loss": loss,
            "efficiency": float(np.mean(found)), "seconds": time.monotonic() - started,
        }  # fmt: skip
        if update % config.test_every == 0 or update == config.n_updates - 1:
            record["test_efficiency"] = float(np.mean(_test(card, config, learner, tests)))
        if curriculum.record(found):
            record["promoted_to"] = curriculum.stage.name
            worlds = []
        records.append(record)
        if watch is not None:
            watch(update, config.n_updates, record)
    agent = Agent(card.name, config, learner.network)
    if out is not None:
        _write(Path(out), agent, records, seed, topologies)
    return agent, records


def _worlds(
    config: AgentConfig, stage: int, seed: int, topologies: Sequence[Graph]
) -> list[TrainingWorld]:
    return [
        draw_training_world(STAGES[stage], named_rng(seed, "world", stage, i), topologies)
        for i in range(config.worlds)
    ]


def _draw(worlds: list[TrainingWorld], n: int, rng: np.random.Generator) -> list[DesignTask]:
    return [worlds[int(i)].draw(rng) for i in rng.integers(len(worlds), size=n)]


def held_out_tasks(config: AgentConfig, topologies: Sequence[Graph] = ()) -> list[DesignTask]:
    """Return screens of worlds that no agent trains on, of the last stage it may reach."""
    last = STAGES[min(config.max_stage, len(STAGES) - 1)]
    tasks = []
    for i in range(config.n_test):
        rng = named_rng(TEST_SEED, "test", i)
        tasks.append(draw_training_world(last, rng, topologies).draw(rng))
    return tasks


def play_greedily(agent: Agent, task: DesignTask) -> Episode:
    """Play a task without exploration."""
    import torch

    def act(episode: Episode) -> np.ndarray:
        with torch.no_grad():
            out = agent.network(torch.from_numpy(episode.x_cf), task.view.adjacency)
        return out["policy"].double().numpy()

    return play(task, act, np.random.default_rng(0))


def _test(
    card: AgentCard, config: AgentConfig, learner: Learner, tests: list[DesignTask]
) -> list[float]:
    agent = Agent(card.name, config, learner.network)
    return [play_greedily(agent, t).efficiency for t in tests]


def _write(
    out: Path, agent: Agent, records: list[Record], seed: int, topologies: Sequence[Graph]
) -> None:
    write_text(out / "training.jsonl", "".join(json.dumps(r) + "\n" for r in records))
    last = next(r["test_efficiency"] for r in reversed(records) if "test_efficiency" in r)
    save_agent(out, agent, {
        "seed": seed, "updates": len(records), "stage": records[-1]["stage"],
        "test_efficiency": last, "topologies": [g.provenance.name for g in topologies],
        "data": "simulated screens only",
    })  # fmt: skip
