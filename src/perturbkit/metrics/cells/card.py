"""What the family of metrics of cells promises."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perturbkit.core.catalog import Card
from perturbkit.metrics.card import Ceiling, stepped_up
from perturbkit.metrics.cells.pair import CellsPair


@dataclass(frozen=True, kw_only=True)
class CellsCard(Card):
    """A score of predicted cells, by perturbation or of all perturbations together."""

    fn: Callable[[CellsPair], np.ndarray]
    """`pair -> score_p` float64, NaN where it cannot be computed; where `pool` is given,
    `pair -> parts_pk`, what `pool` makes one number of"""
    pool: Callable[[np.ndarray], float] | None = None
    """`parts_pk -> score`, for a score that only all perturbations together have"""
    better: Literal["higher", "lower", "neither"]
    """which way is better; "neither" for what is counted and not scored"""
    best: float
    """the value of a perfect prediction; NaN where nothing is best"""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    """the range of possible values"""
    takes: Literal["logs", "counts"] = "logs"
    """whether it reads log-normalized values (also of cells given as counts) or needs counts"""
    profiles: frozenset[str] = frozenset({"full"})
    """the sets of metrics it belongs to"""
    undefined: str = "it is not defined for these cells"
    """when a perturbation gets NaN, in words for the table's reason"""
    ceiling: Ceiling = "half"
    """how half against half is stepped up to what a replicate of full size would score"""
    resample: bool = True
    """whether resampling perturbations gives its interval"""

    def replicate(self, score: np.ndarray) -> np.ndarray:
        """Step the scores of half the cells against the other half up to a full-size replicate."""
        return stepped_up(score, self.ceiling)
