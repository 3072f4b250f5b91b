"""One episode: a screen that is chosen from in rounds, and what was seen and found."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from perturbkit.design.agents.features import PoolView
from perturbkit.design.constraints import Rules
from perturbkit.design.environment import BatchDesignEnv
from perturbkit.design.oracles import ReplayOracle
from perturbkit.design.policy import learning_target
from perturbkit.design.tables import HitTable


@dataclass(frozen=True, eq=False)
class DesignTask:
    """A screen to choose from, simulated or measured, and what is known of its pool."""

    table: HitTable
    view: PoolView
    rounds: int
    batch: int
    side: str = "both"

    @property
    def chance(self) -> float:
        """The share of hits in the pool."""
        return float(self.table.hit_c.mean())


@dataclass(eq=False)
class Round:
    """What was seen, chosen and found in one round."""

    x_cf: np.ndarray
    """float32, features before the round"""
    free_c: np.ndarray
    """bool, what might be chosen"""
    chosen_k: np.ndarray
    """positions in order of choice"""
    hit_k: np.ndarray
    """bool, which of them were hits"""


@dataclass(eq=False)
class Episode:
    """A task and its rounds so far."""

    task: DesignTask
    rounds: list[Round] = field(default_factory=list)
    x_cf: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """features now"""
    free_c: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """what may be chosen now"""

    @property
    def n_hits(self) -> int:
        """Hits found."""
        return int(sum(r.hit_k.sum() for r in self.rounds))

    @property
    def n_chosen(self) -> int:
        """Conditions measured."""
        return int(sum(len(r.hit_k) for r in self.rounds))

    @property
    def efficiency(self) -> float:
        """Hits over what as many random conditions would find."""
        return self.n_hits / max(self.n_chosen * self.task.chance, 1e-9)

    @property
    def chosen(self) -> np.ndarray:
        """Positions in order of choice."""
        return np.concatenate([r.chosen_k for r in self.rounds])


Act = Callable[[Episode], np.ndarray]
"""`episode -> scores float64 [c]`: the best that may be chosen are measured"""


def play(task: DesignTask, act: Act, rng: np.random.Generator) -> Episode:
    """Play one episode through the environment of batches.

    Args:
        task: the screen.
        act: how to score conditions, given the episode so far.
        rng: the environment's noise.
    """
    rules = Rules(budget=task.rounds * task.batch, batch=task.batch, rounds=task.rounds)
    env = BatchDesignEnv(ReplayOracle(task.table, "scores"), rules)
    seen, info = env.reset(seed=int(rng.integers(2**31)))
    episode, over = Episode(task), False
    hit_c = np.full(len(task.table.conditions), np.nan)
    while not over:
        measured = seen["measured"].astype(bool)
        score = np.where(measured, seen["outcome"].astype(np.float64), np.nan)
        episode.x_cf = task.view.features(learning_target(score, hit_c, task.side))
        episode.free_c = info["mask"]
        scores = act(episode)
        seen, _, over, _, info = env.step(np.clip(scores, -1e5, 1e5))
        hit_c[info["chosen"]] = info["hit"]
        episode.rounds.append(Round(episode.x_cf, episode.free_c, info["chosen"], info["hit"]))
    return episode
