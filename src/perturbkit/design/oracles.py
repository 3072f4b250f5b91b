"""Oracles: what answers experiments in an environment. Measured screens, and simulated worlds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy import sparse

from perturbkit.core.condition import Condition, conditions_of
from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.data.simulate import World
from perturbkit.data.simulate.network import reachable
from perturbkit.design.acquire.card import objective_mc
from perturbkit.design.tables import HitTable


class Oracle(Protocol):
    """What answers experiments."""

    @property
    def n_conditions(self) -> int:
        """Conditions that can be asked."""
        ...

    @property
    def targets(self) -> tuple[tuple[str, ...], ...]:
        """The genes that each condition perturbs."""
        ...

    def outcome(self, positions: np.ndarray) -> np.ndarray:
        """Return the noise-free objective of conditions, float64 [k]."""
        ...

    def hits(self, positions: np.ndarray) -> np.ndarray:
        """Return which of these conditions are hits, bool [k]."""
        ...


@dataclass(frozen=True, eq=False)
class ReplayOracle:
    """A measured screen of one score; its hits are those of the table."""

    table: HitTable
    reveal: str = "hits"
    """what an experiment shows: `hits` (1 or 0) or the measured `scores`"""

    def __post_init__(self) -> None:
        if self.reveal not in ("hits", "scores"):
            message = f"an experiment reveals 'hits' or 'scores', not {self.reveal!r}"
            raise SchemaError(message)

    @property
    def n_conditions(self) -> int:
        """Conditions of the screen."""
        return len(self.table.conditions)

    @property
    def targets(self) -> tuple[tuple[str, ...], ...]:
        """The genes of each condition, two for a pair."""
        return tuple(tuple(c.split("+")) for c in self.table.conditions)

    def outcome(self, positions: np.ndarray) -> np.ndarray:
        """Return 1 for hits and 0 for others, or scores."""
        if self.reveal == "scores":
            return self.table.score_c[positions]
        return self.table.hit_c[positions].astype(np.float64)

    def hits(self, positions: np.ndarray) -> np.ndarray:
        """Return the published hits."""
        return self.table.hit_c[positions]


@dataclass(frozen=True, eq=False)
class ResponseOracle:
    """A measured screen of whole responses; the objective is their root mean square change."""

    responses: Responses
    """measured; controls are not asked for"""
    top_share: float = 0.05
    """the share of conditions that are hits"""

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.flatnonzero(~self.responses.is_control)

    @property
    def n_conditions(self) -> int:
        """Conditions of the screen, controls apart."""
        return len(self._rows)

    @property
    def targets(self) -> tuple[tuple[str, ...], ...]:
        """The genes of each condition."""
        rows = conditions_of(self.responses.conditions[self._rows])
        return tuple(c.targets for c in rows)

    @cached_property
    def _size_c(self) -> np.ndarray:
        return objective_mc(self.responses).mean(0)[self._rows]

    def outcome(self, positions: np.ndarray) -> np.ndarray:
        """Return root mean square changes against control."""
        return self._size_c[positions]

    def hits(self, positions: np.ndarray) -> np.ndarray:
        """Return whether each is among the top share."""
        return self._size_c[positions] >= np.quantile(self._size_c, 1 - self.top_share)

    def response(self, positions: np.ndarray) -> np.ndarray:
        """Return the measured responses, float64 [k, readouts]."""
        return self.responses.mean_cg[self._rows[positions]].astype(np.float64)


@dataclass(frozen=True, eq=False)
class SimulatorOracle:
    """A simulated world; the objective is the root mean square log fold change."""

    world: World
    conditions: tuple[Condition, ...]
    """single targets or combinations, in contexts of the world"""
    top_share: float = 0.1
    """the share of conditions that are hits"""

    @cached_property
    def effect_cg(self) -> np.ndarray:
        """True log fold changes, float64 [c, g]."""
        rest, moved = self.world.log_levels(self.conditions)
        return moved - rest

    @cached_property
    def _size(self) -> np.ndarray:
        return np.sqrt(np.mean(self.effect_cg**2, 1))

    @property
    def n_conditions(self) -> int:
        """Conditions that can be asked."""
        return len(self.conditions)

    @property
    def targets(self) -> tuple[tuple[str, ...], ...]:
        """The genes of each condition."""
        return tuple(c.targets for c in self.conditions)

    @cached_property
    def hit_above(self) -> float:
        """The objective that the top share reaches."""
        return float(np.quantile(self._size, 1 - self.top_share))

    def outcome(self, positions: np.ndarray) -> np.ndarray:
        """Return root mean square log fold changes."""
        return self._size[positions]

    def hits(self, positions: np.ndarray) -> np.ndarray:
        """Return whether each reaches the top share."""
        return self._size[positions] >= self.hit_above

    def response(self, positions: np.ndarray) -> np.ndarray:
        """Return the true log fold changes of all genes, float64 [k, g]."""
        return self.effect_cg[positions]

    @cached_property
    def edges(self) -> sparse.csr_array:
        """The true direct regulation, 1 where the row regulates the column, [g, g]."""
        net = self.world.network
        ones = np.ones(len(net.source), np.float32)
        return sparse.csr_array((ones, (net.source, net.target)), shape=(net.n_genes, net.n_genes))

    @cached_property
    def ancestors(self) -> np.ndarray:
        """Whether the row is above the column in the hierarchy, bool [g, g]."""
        net = self.world.network
        found = reachable(net.source, net.target, net.n_genes)
        np.fill_diagonal(found, val=False)
        return found & ~found.T

    @property
    def level_g(self) -> np.ndarray:
        """The true level of each gene, 0 at the top."""
        return self.world.network.level


def combinations(oracle: Oracle, genes: Sequence[str]) -> np.ndarray:
    """Return the conditions that perturb several genes, all of them among `genes`; bool [c]."""
    known = set(genes)
    return np.array([len(t) > 1 and known.issuperset(t) for t in oracle.targets], bool)
