"""What the family of acquisition functions promises, and what every member is given."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from perturbkit.core.catalog import Card
from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses


@dataclass(frozen=True, eq=False)
class History:
    """What is known of the pool beside the predictions: same rows as the responses."""

    taken: np.ndarray
    """bool [c], conditions that were chosen before or may not be chosen"""
    outcome: np.ndarray
    """float64 [c], the objective measured so far, NaN elsewhere"""
    features_cd: np.ndarray | None = None
    """float32 [c, d], where conditions lie; by default where their predictions lie"""
    adjacency: sparse.csr_array | None = None
    """float32 [c, c], a network over the conditions, symmetric"""
    hit_above: float | None = None
    """objective at and above which a condition is a hit"""
    noise: float = 1.0
    """variance of a measurement of the objective"""
    essential: np.ndarray | None = None
    """bool [c], on a published list of essential genes"""
    kernels: tuple[np.ndarray, ...] = field(default=())
    """further features [c, d] of prior knowledge, one for each source"""

    @classmethod
    def empty(cls, n_conditions: int) -> "History":
        """Return the history of a campaign that has not begun."""
        return cls(np.zeros(n_conditions, bool), np.full(n_conditions, np.nan))

    @property
    def measured(self) -> np.ndarray:
        """Positions with an outcome."""
        return np.flatnonzero(np.isfinite(self.outcome))

    @property
    def free(self) -> np.ndarray:
        """Positions that may be chosen."""
        return np.flatnonzero(~self.taken)


Choose = Callable[..., np.ndarray]
"""`(responses, k, rng, *, history) -> positions [k]`, best first, none of them taken"""


@dataclass(frozen=True, kw_only=True)
class AcquisitionCard(Card):
    """A way to choose the next conditions."""

    fn: Choose
    """`(responses, k, rng, *, history) -> positions int64 [k]`, best first, distinct, not taken"""
    needs: frozenset[str] = frozenset()
    """what it cannot do without: "members" (several), "adjacency" (a network), "essential" (a
    list of essential genes)"""
    reason: str = ""
    """what the order list says of each choice; {value} is the predicted objective, {std} its
    spread, {rank} the rank"""


def objective_mc(responses: Responses) -> np.ndarray:
    """Return the objective of each member and condition, float64 [m, c].

    One readout is the objective itself; of several it is the root mean square change against
    control. A refused condition (NaN) counts as the mean of the others.
    """
    values = responses.values.astype(np.float64)
    if values.shape[2] > 1:
        if responses.is_control.any():
            values = values - responses.control_of(responses.contexts)
        values = np.sqrt(np.nanmean(values**2, 2, keepdims=True))
    values = values[..., 0]
    known = np.isfinite(values)
    mean = values[known].mean() if known.any() else 0.0
    return np.where(known, values, mean)


def spread(values_mc: np.ndarray) -> np.ndarray:
    """Return the standard deviation over members, float64 [c]; 0 for a single member."""
    return values_mc.std(0, ddof=1) if len(values_mc) > 1 else np.zeros(values_mc.shape[1])


def top(score_c: np.ndarray, k: int, rng: np.random.Generator, history: History) -> np.ndarray:
    """Return the k free positions of the largest score, ties broken by chance."""
    free = require(k, history)
    order = np.lexsort((rng.random(len(free)), -score_c[free]))
    return free[order[:k]]


def require(k: int, history: History) -> np.ndarray:
    """Return the free positions, or raise SchemaError when there are fewer than k."""
    free = history.free
    if k > len(free):
        message = f"{k} conditions are asked for and {len(free)} are left in the pool; ask for less"
        raise SchemaError(message)
    return free


def places(responses: Responses, history: History) -> np.ndarray:
    """Return where conditions lie, float32 [c, d]: features, else predictions of all members."""
    if history.features_cd is not None:
        return np.asarray(history.features_cd, np.float32)
    m, c, g = responses.values.shape
    flat = responses.mean_cg if g > 1 else responses.values.transpose(1, 0, 2).reshape(c, m * g)
    return np.nan_to_num(flat)


def square_distance(x_cd: np.ndarray, centre_d: np.ndarray, norm_c: np.ndarray) -> np.ndarray:
    """Return squared distances of all rows to one, never negative."""
    return np.maximum(norm_c - 2 * (x_cd @ centre_d) + centre_d @ centre_d, 0)
