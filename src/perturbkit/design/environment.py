"""Design as an environment with Gymnasium's API: an action is a condition, an outcome comes back.

Two oracles: `ReplayOracle` reveals a screen that was measured in full, `SimulatorOracle` asks a
simulated world. The environment adds noise, batch effects, costs, action masks and the budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from perturbkit.core.condition import Condition
from perturbkit.core.errors import SchemaError
from perturbkit.data.simulate import World
from perturbkit.design.tables import HitTable


class Oracle(Protocol):
    """What answers experiments."""

    @property
    def n_conditions(self) -> int:
        """Conditions that can be asked."""
        ...

    def outcome(self, positions: np.ndarray) -> np.ndarray:
        """Return the noise-free objective of conditions, float64 [k]."""
        ...

    @property
    def hit_above(self) -> float:
        """Objective from which a condition is a hit."""
        ...


@dataclass(frozen=True, eq=False)
class ReplayOracle:
    """A measured screen; the objective is 1 for a hit, else 0."""

    table: HitTable

    @property
    def n_conditions(self) -> int:
        """Conditions of the screen."""
        return len(self.table.conditions)

    @property
    def hit_above(self) -> float:
        """One half: outcomes are 0 or 1."""
        return 0.5

    def outcome(self, positions: np.ndarray) -> np.ndarray:
        """Return 1 for hits."""
        return self.table.hit_c[positions].astype(np.float64)


@dataclass(frozen=True, eq=False)
class SimulatorOracle:
    """A simulated world; the objective is the root mean square log fold change."""

    world: World
    conditions: tuple[Condition, ...]
    """single targets or combinations, in contexts of the world"""
    top_share: float = 0.1
    """the share of conditions that are hits"""

    def __post_init__(self) -> None:
        rest, moved = self.world.log_levels(self.conditions)
        size = np.sqrt(np.mean((moved - rest) ** 2, 1))
        object.__setattr__(self, "_size", size)

    @property
    def n_conditions(self) -> int:
        """Conditions that can be asked."""
        return len(self.conditions)

    @property
    def hit_above(self) -> float:
        """The objective that the top share reaches."""
        return float(np.quantile(self._size, 1 - self.top_share))  # type: ignore[attr-defined]

    def outcome(self, positions: np.ndarray) -> np.ndarray:
        """Return root mean square log fold changes."""
        return self._size[positions]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Rules:
    """What an episode allows and how measurements err."""

    budget: float = 100.0
    """the sum of costs that may be spent"""
    batch: int = 1
    """after so many choices a round ends and a new batch effect is drawn"""
    noise: float = 0.0
    """standard deviation of a measurement"""
    batch_noise: float = 0.0
    """standard deviation of the error shared by a round"""


class DesignEnv(gymnasium.Env[dict[str, np.ndarray], np.int64]):
    """Choose conditions one by one until the budget is spent; the reward is 1 for each hit.

    The observation has `outcome` (0 where not measured), `measured` and `mask` (what may be
    chosen); `info["mask"]` repeats the mask. A choice outside the mask raises.

    Args:
        oracle: what answers.
        rules: budget, noise, batches.
        cost: of each condition; 1 by default.
        allowed: which conditions may ever be chosen, such as all but essential genes.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (gymnasium's own type)

    def __init__(
        self,
        oracle: Oracle,
        rules: Rules,
        *,
        cost: Sequence[float] | None = None,
        allowed: np.ndarray | None = None,
    ) -> None:
        n = oracle.n_conditions
        self.oracle, self.rules = oracle, rules
        self.cost = np.ones(n) if cost is None else np.asarray(cost, np.float64)
        self.allowed = np.ones(n, bool) if allowed is None else np.asarray(allowed, bool)
        if self.cost.shape != (n,) or self.allowed.shape != (n,) or (self.cost <= 0).any():
            message = f"costs above 0 and a mask are needed for each of {n} conditions"
            raise SchemaError(message)
        self.action_space = spaces.Discrete(n)
        self.observation_space = spaces.Dict({
            "outcome": spaces.Box(-np.inf, np.inf, (n,), np.float32),
            "measured": spaces.MultiBinary(n),
            "mask": spaces.MultiBinary(n),
        })  # fmt: skip
        self._start()

    def _start(self) -> None:
        n = self.oracle.n_conditions
        self.outcome, self.taken, self.spent = np.zeros(n, np.float32), np.zeros(n, bool), 0.0
        self.shift = 0.0

    @property
    def mask(self) -> np.ndarray:
        """Conditions that may be chosen now: allowed, not taken, and paid for by what is left."""
        return self.allowed & ~self.taken & (self.cost <= self.rules.budget - self.spent + 1e-9)

    def observe(self) -> dict[str, np.ndarray]:
        """Return the observation."""
        return {"outcome": self.outcome.copy(), "measured": self.taken.astype(np.int8),
                "mask": self.mask.astype(np.int8)}  # fmt: skip

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; the seed decides all noise."""
        super().reset(seed=seed, options=options)
        self._start()
        self.shift = self.rules.batch_noise * self.np_random.standard_normal()
        return self.observe(), {"mask": self.mask}

    def step(
        self, action: np.int64 | int
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Measure one condition.

        Raises:
            SchemaError: the condition is outside the mask.
        """
        i = int(action)
        if not (0 <= i < len(self.taken)) or not self.mask[i]:
            message = f"condition {i} may not be chosen: taken, barred or too dear; see the mask"
            raise SchemaError(message)
        true = float(self.oracle.outcome(np.array([i]))[0])
        self.outcome[i] = true + self.shift + self.rules.noise * self.np_random.standard_normal()
        self.taken[i] = True
        self.spent += float(self.cost[i])
        if int(self.taken.sum()) % self.rules.batch == 0:
            self.shift = self.rules.batch_noise * self.np_random.standard_normal()
        reward = float(true >= self.oracle.hit_above)
        info = {"mask": self.mask, "spent": self.spent, "hit": bool(reward)}
        return self.observe(), reward, not self.mask.any(), False, info
