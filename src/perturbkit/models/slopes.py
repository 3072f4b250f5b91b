"""A slope for each context and readout on what a model predicts: some readouts carry over better.

A model that borrows from other contexts trusts every readout alike. Where its predictions of
held-out conditions overshoot in a readout, that readout is drawn towards the mean of the context.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.models.card import State
from perturbkit.models.deltas import nan_mean

WEIGHTS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""candidates for how strongly a readout's slope is drawn to that of its context"""
_FEWEST = 20
"""conditions of a context below which it keeps its predictions"""


def shrunken_slopes(
    x_ng: np.ndarray, y_ng: np.ndarray, weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope of y on x through 0, readout by readout, drawn to that of all readouts.

    Args:
        x_ng: predicted deviations, without gaps.
        y_ng: measured deviations, without gaps.
        weight: rows of typical power that the common slope counts for.

    Returns:
        Slopes [g], and for each row the slopes without it [n, g].
    """
    xy, xx = x_ng * y_ng, x_ng * x_ng
    sum_xy, sum_xx = xy.sum(0), xx.sum(0)
    typical = max(float(sum_xx.mean()), 1e-30)
    common = float(sum_xy.sum()) / max(float(sum_xx.sum()), 1e-30)
    extra = weight * typical / len(x_ng)
    slope_g = (sum_xy + extra * common) / (sum_xx + extra)
    without_ng = (sum_xy - xy + extra * common) / (sum_xx - xx + extra)
    return slope_g, without_ng


@dataclass(frozen=True, eq=False)
class Slopes:
    """What replaces a prediction: centre + slope x (prediction - centre)."""

    contexts: tuple[str, ...]
    centre_kg: np.ndarray
    """mean training response of each context, float32"""
    slope_kg: np.ndarray
    """float32; 1 where a context has too few conditions, or no slopes predict better"""

    @classmethod
    def fit(cls, train: Responses, predicted_cg: np.ndarray) -> Self:
        """Fit on cross-fitted predictions of the training set; leaving one out chooses the weight.

        Args:
            train: measured conditions, controls included; these count for nothing.
            predicted_cg: what a model fitted without each condition says of it.
        """
        contexts = tuple(sorted(set(train.contexts.tolist())))
        shape = (len(contexts), len(train.readouts))
        centre, slope = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        for k, context in enumerate(contexts):
            rows = np.flatnonzero((train.contexts == context) & ~train.is_control)
            if len(rows) < _FEWEST:
                continue
            measured = train.mean_cg[rows]
            centre[k] = np.nan_to_num(nan_mean(measured))
            y = (measured - centre[k]).astype(np.float64)
            x = (predicted_cg[rows] - centre[k]).astype(np.float64)
            known = ~np.isnan(y) & ~np.isnan(x)
            slope[k] = _best(np.where(known, x, 0), np.where(known, y, 0))
        return cls(contexts, centre, slope)

    def apply(self, values_cg: np.ndarray, contexts: np.ndarray, use: np.ndarray) -> np.ndarray:
        """Return the predictions with slopes where `use` says so; contexts not known stay."""
        place = {c: k for k, c in enumerate(self.contexts)}
        code = np.array([place.get(c, -1) for c in contexts], np.int64)
        rows = np.flatnonzero(use & (code >= 0))
        out = values_cg.copy()
        centre = self.centre_kg[code[rows]]
        out[rows] = centre + self.slope_kg[code[rows]] * (values_cg[rows] - centre)
        return out

    def at(self, share: float) -> Self:
        """Return slopes that go only this share of the way from 1."""
        part = 1 + np.float32(share) * (self.slope_kg - 1)
        return replace(self, slope_kg=part.astype(np.float32))

    def state(self) -> State:
        """Return arrays and plain values."""
        arrays = {"centre_kg": self.centre_kg, "slope_kg": self.slope_kg}
        return arrays, {"contexts": list(self.contexts)}

    @classmethod
    def restore(cls, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, about = state
        return cls(tuple(about["contexts"]), arrays["centre_kg"], arrays["slope_kg"])


def _best(x_ng: np.ndarray, y_ng: np.ndarray) -> np.ndarray:
    """Return the slopes whose leave-one-out error is the smallest, or ones."""
    best, least = np.ones(x_ng.shape[1]), float(np.square(y_ng - x_ng).sum())
    for weight in WEIGHTS:
        slope, without = shrunken_slopes(x_ng, y_ng, weight)
        error = float(np.square(y_ng - without * x_ng).sum())
        if error < least:
            best, least = slope, error
    return best.astype(np.float32)
