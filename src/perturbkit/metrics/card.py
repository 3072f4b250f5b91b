"""What the family of metrics promises: the card, and the aligned pair every kernel gets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from perturbkit.core.catalog import Card
from perturbkit.core.responses import Responses

Ceiling = Literal["half", "correlation", "error", "squared_error", "determination"]
"""How the split-half value becomes the ceiling. Two halves differ by four units of noise variance
where two full replicates differ by two: errors shrink by the square root of 2, squared errors by 2,
1 - R2 by 2; correlations step up by Spearman-Brown 2r / (1 + r); `half` stays, a lower bound."""


def stepped_up(score: np.ndarray, ceiling: Ceiling) -> np.ndarray:
    """Step a score of half the cells against the other half up to a replicate of full size."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if ceiling == "correlation":
            return np.where(score > 0, 2 * score / (1 + score), score)
        if ceiling == "determination":
            return 1 - (1 - score) / 2
        return score / {"half": 1.0, "error": np.sqrt(2), "squared_error": 2.0}[ceiling]


@dataclass(frozen=True, eq=False)
class Pair:
    """Truth and prediction of the same conditions and readouts, aligned by name.

    Controls are not among the conditions; the measured control is the origin of both sides.
    """

    truth: Responses
    """measured, without controls"""
    predicted: Responses
    """predicted, same conditions and readouts in the same order"""
    control_cg: np.ndarray
    """measured control profile of each condition's context, float32"""
    centroid_cg: np.ndarray
    """mean of the training perturbations' centroids in each condition's context (Systema)"""

    @cached_property
    def truth_cg(self) -> np.ndarray:
        """Measured values."""
        return self.truth.mean_cg

    @cached_property
    def predicted_cg(self) -> np.ndarray:
        """Predicted values, mean over members."""
        return self.predicted.mean_cg

    @cached_property
    def truth_delta_cg(self) -> np.ndarray:
        """Measured change against the measured control."""
        return self.truth_cg - self.control_cg

    @cached_property
    def predicted_delta_cg(self) -> np.ndarray:
        """Predicted change against the measured control."""
        return self.predicted_cg - self.control_cg


@dataclass(frozen=True, kw_only=True)
class MetricCard(Card):
    """A score of each condition."""

    fn: Callable[[Pair], np.ndarray]
    """`pair -> score_c` float64; NaN where it cannot be computed"""
    better: Literal["higher", "lower"]
    """which way is better"""
    best: float
    """the value of a perfect prediction"""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    """the range of possible values"""
    unit: str = ""
    """unit of the value; empty for none, "readout" for the readouts' own"""
    undefined: str = "it is not defined for these values"
    """when a condition gets NaN, in words for the table's reason"""
    ceiling: Ceiling = "half"
    """how half against half is stepped up to what a replicate of full size would score"""
    needs_train: bool = False
    """whether it compares with the training responses"""

    def replicate(self, score_c: np.ndarray) -> np.ndarray:
        """Step the scores of half the cells against the other half up to a full-size replicate."""
        return stepped_up(score_c, self.ceiling)
