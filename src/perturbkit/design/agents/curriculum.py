"""From small, quiet, sparse, acyclic networks as of yeast to large, noisy, human-like ones.

An agent is promoted when it succeeds, never because time has passed.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from perturbkit.data.simulate.settings import NetworkConfig


@dataclass(frozen=True)
class Stage:
    """How simulated screens of one stage look."""

    name: str
    n_genes: tuple[int, int]
    """range of genes in a world"""
    noise: tuple[float, float]
    """noise of a score, in units of the 3 % largest effects"""
    edges_kept: tuple[float, float]
    """range of the share of true edges in the network that is given"""
    edges_false: tuple[float, float]
    """range of false edges, as a multiple of the true ones"""
    network: NetworkConfig
    """shape: share of regulators, density, feedback, hubs"""
    real_topologies: float = 0.0
    """chance that a real network's wiring is used, where topologies are given"""
    promote_at: float = 1.5
    """mean efficiency over the window from which the agent goes on"""


def _shape(regulators: float, inputs: float, feedback: float, complexes: float) -> NetworkConfig:
    return NetworkConfig(
        regulators=regulators, mean_regulators=inputs, feedback=feedback, complexes=complexes
    )


STAGES: tuple[Stage, ...] = (
    Stage("small and quiet", (150, 250), (0.05, 0.1), (0.7, 0.9), (0.1, 0.5),
          _shape(0.15, 2.0, 0.0, 0.0), promote_at=2.0),
    Stage("yeast-like", (250, 400), (0.1, 0.3), (0.5, 0.8), (0.5, 1.5),
          _shape(0.10, 2.5, 0.0, 0.3), real_topologies=0.7, promote_at=1.9),
    Stage("yeast-like with feedback", (300, 500), (0.2, 0.5), (0.4, 0.7), (0.5, 2.0),
          _shape(0.12, 3.0, 0.03, 0.4), real_topologies=0.5, promote_at=1.7),
    Stage("denser", (400, 700), (0.2, 0.7), (0.3, 0.6), (1.0, 3.0),
          _shape(0.2, 4.0, 0.04, 0.5), real_topologies=0.2, promote_at=1.5),
    Stage("human-like", (500, 900), (0.3, 1.0), (0.2, 0.5), (1.0, 4.0),
          _shape(0.3, 5.0, 0.05, 0.5), real_topologies=0.1, promote_at=1.4),
    Stage("human-like, all noises", (300, 1000), (0.1, 1.5), (0.1, 0.7), (0.5, 4.0),
          _shape(0.3, 5.0, 0.06, 0.5), real_topologies=0.2, promote_at=np.inf),
)  # fmt: skip
"""The curriculum, in order; nothing comes after the last."""


@dataclass(eq=False)
class Curriculum:
    """Where an agent stands; `record` promotes it on success."""

    stages: tuple[Stage, ...]
    window: int
    position: int = 0
    recent: deque[float] = field(default_factory=deque)

    @property
    def stage(self) -> Stage:
        """The stage now."""
        return self.stages[self.position]

    def record(self, efficiencies: Iterable[float]) -> bool:
        """Note how episodes went; return whether the agent was promoted."""
        self.recent.extend(efficiencies)
        while len(self.recent) > self.window:
            self.recent.popleft()
        success = np.mean(self.recent) >= self.stage.promote_at
        last = self.position == len(self.stages) - 1
        if len(self.recent) < self.window or not success or last:
            return False
        self.position += 1
        self.recent.clear()
        return True
