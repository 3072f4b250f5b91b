"""What the family of surrogates promises: a quick model of the objective over the whole pool."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perturbkit.core.catalog import Card
from perturbkit.design.knowledge import Knowledge

Fit = Callable[[Knowledge, np.ndarray, np.random.Generator], np.ndarray]
"""`(knowledge, outcome_c, rng) -> values_mc`; outcome NaN where not measured"""


@dataclass(frozen=True, kw_only=True)
class SurrogateCard(Card):
    """A quick model of the objective."""

    fn: Fit
    """`(knowledge, outcome_c, rng) -> float64 [members, conditions]`, in the outcome's unit"""
    by_chance: bool = False
    """whether the mean over members depends on the generator"""


def observed(outcome_c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the measured positions and their outcomes."""
    rows = np.flatnonzero(np.isfinite(outcome_c))
    return rows, outcome_c[rows]
