"""Design as environments with Gymnasium's API: conditions are chosen, outcomes come back.

`DesignEnv` measures one condition at a time, `BatchDesignEnv` a batch: its action is a score for
each condition, and the best that may be chosen are measured. Both keep the budget, the rounds and
the mask, and add noise and batch effects. What answers is an oracle (`design.oracles`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces

from perturbkit.core.errors import SchemaError
from perturbkit.design.constraints import Rules
from perturbkit.design.oracles import Oracle

Observation = dict[str, np.ndarray]
Step = tuple[Observation, float, bool, bool, dict[str, Any]]
Action = TypeVar("Action")
LARGEST_SCORE = 1e6
"""Scores of a batch action lie between minus this and this."""


class _Episodes(gymnasium.Env[Observation, Action], Generic[Action]):
    """What both environments share: the books of an episode."""

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
        self._targets = oracle.targets if rules.per_gene is not None else ()
        parts: dict[str, spaces.Space[Any]] = {
            "outcome": spaces.Box(-np.inf, np.inf, (n,), np.float32),
            "measured": spaces.MultiBinary(n),
            "mask": spaces.MultiBinary(n),
        }
        self.observation_space = spaces.Dict(parts)  # pyright: ignore[reportAttributeAccessIssue]
        self.action_space = self._actions()
        self._start()

    @abstractmethod
    def _actions(self) -> "spaces.Space[Action]":
        """Return what may be sent to `step`."""

    def _start(self) -> None:
        n = self.oracle.n_conditions
        self.outcome, self.taken, self.spent = np.zeros(n, np.float32), np.zeros(n, bool), 0.0
        self.n_hits, self.shift = 0, 0.0
        self._used: dict[str, int] = {}

    @property
    def round(self) -> int:
        """Rounds that are full."""
        return int(self.taken.sum()) // self.rules.batch

    @property
    def mask(self) -> np.ndarray:
        """Conditions that may be chosen now: allowed, not taken, and paid for by what is left."""
        if self.rules.rounds is not None and self.round >= self.rules.rounds:
            return np.zeros_like(self.allowed)
        free = self.allowed & ~self.taken
        free &= self.cost <= self.rules.budget - self.spent + 1e-9
        full = {g for g, n in self._used.items() if n >= (self.rules.per_gene or np.inf)}
        if full:
            free &= np.array([full.isdisjoint(t) for t in self._targets], bool)
        return free

    def observe(self) -> Observation:
        """Return the observation."""
        return {"outcome": self.outcome.copy(), "measured": self.taken.astype(np.int8),
                "mask": self.mask.astype(np.int8)}  # fmt: skip

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; the seed decides all noise."""
        super().reset(seed=seed, options=options)
        self._start()
        self.shift = self.rules.batch_noise * self.np_random.standard_normal()
        return self.observe(), {"mask": self.mask}

    def _measure(self, i: int) -> bool:
        """Measure one condition and write it in the books; return whether it is a hit."""
        true = float(self.oracle.outcome(np.array([i]))[0])
        self.outcome[i] = true + self.shift + self.rules.noise * self.np_random.standard_normal()
        self.taken[i] = True
        self.spent += float(self.cost[i])
        for gene in self._targets[i] if self._targets else ():
            self._used[gene] = self._used.get(gene, 0) + 1
        if int(self.taken.sum()) % self.rules.batch == 0:
            self.shift = self.rules.batch_noise * self.np_random.standard_normal()
        hit = bool(self.oracle.hits(np.array([i]))[0])
        self.n_hits += hit
        return hit

    def _told(self, reward: float, **more: Any) -> Step:
        mask = self.mask
        info = {"mask": mask, "spent": self.spent, "hits": self.n_hits, "round": self.round, **more}
        return self.observe(), reward, not mask.any(), False, info


class DesignEnv(_Episodes[np.int64]):
    """Choose conditions one by one until the budget is spent; the reward is 1 for each hit.

    The observation has `outcome` (0 where not measured), `measured` and `mask` (what may be
    chosen); `info["mask"]` repeats the mask. A choice outside the mask raises.

    Args:
        oracle: what answers.
        rules: budget, rounds, noise, batches.
        cost: of each condition; 1 by default.
        allowed: which conditions may ever be chosen (`permitted`), such as all but essentials.
    """

    def _actions(self) -> "spaces.Space[np.int64]":
        return spaces.Discrete(self.oracle.n_conditions)

    def step(self, action: np.int64 | int) -> Step:
        """Measure one condition.

        Raises:
            SchemaError: the condition is outside the mask.
        """
        i = int(action)
        if not (0 <= i < len(self.taken)) or not self.mask[i]:
            message = f"condition {i} may not be chosen: taken, barred or too dear; see the mask"
            raise SchemaError(message)
        hit = self._measure(i)
        return self._told(float(hit), hit=hit)


class BatchDesignEnv(_Episodes[np.ndarray]):
    """Choose a batch a round: the action scores conditions, the best in the mask are measured.

    The reward is the number of hits in the batch. `info["chosen"]` holds the positions, best
    first, and `info["hit"]` which of them are hits. A batch is shorter than `rules.batch` where
    the mask or the budget holds no more.

    Args: as `DesignEnv`.
    """

    def _actions(self) -> "spaces.Space[np.ndarray]":
        shape = (self.oracle.n_conditions,)
        return spaces.Box(-LARGEST_SCORE, LARGEST_SCORE, shape, np.float32)

    @property
    def round(self) -> int:
        """Rounds that are over."""
        return self._done_rounds

    def _start(self) -> None:
        super()._start()
        self._done_rounds = 0

    def step(self, action: np.ndarray) -> Step:
        """Measure the best-scored conditions that may be chosen.

        Raises:
            SchemaError: not one finite score for each condition.
        """
        score = np.asarray(action, np.float64)
        if score.shape != self.taken.shape or not np.isfinite(score).all():
            message = f"the action has shape {score.shape}; {len(self.taken)} finite scores needed"
            raise SchemaError(message)
        free = self.mask
        chosen, hits = [], []
        for i in np.argsort(-score, kind="stable"):
            if len(chosen) == self.rules.batch:
                break
            # the mask changes within a batch only where money or a gene's share runs out
            if free[i] and (self._plain or self.mask[i]):
                hits.append(self._measure(int(i)))
                chosen.append(int(i))
        self._done_rounds += 1
        return self._told(
            float(sum(hits)), chosen=np.array(chosen, np.int64), hit=np.array(hits, bool)
        )

    @property
    def _plain(self) -> bool:
        enough = self.rules.budget - self.spent >= self.rules.batch * float(self.cost.max())
        return enough and self.rules.per_gene is None
