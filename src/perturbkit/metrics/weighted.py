"""Errors that count where a perturbation differs from the average one."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair


def specificity_weights(specific_cg: np.ndarray) -> np.ndarray:
    """Weights of the readouts of each condition: the squared, min-max scaled size, summing to 1.

    NaN where not measured, and everywhere where all readouts are equally specific.
    """
    size = np.abs(specific_cg.astype(np.float64))
    empty = np.isnan(size).all(1, keepdims=True)
    filled = np.where(empty, 0, size)
    low = np.nanmin(filled, 1, keepdims=True)
    span = np.nanmax(filled, 1, keepdims=True) - low
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.square((size - low) / span)
        return weight / np.nansum(weight, 1, keepdims=True)


def _total(x_cg: np.ndarray) -> np.ndarray:
    """Sum over the readouts that are not NaN; NaN where all are."""
    return np.where(np.isnan(x_cg).all(1), np.nan, np.nansum(x_cg, 1))


def weighted_error(pair: Pair) -> np.ndarray:
    """Squared error weighted by how specific the measured value is; 0 is perfect."""
    weight = specificity_weights(pair.truth_cg - pair.centroid_cg)
    return _total(weight * np.square(pair.predicted_cg - pair.truth_cg))


def weighted_determination(pair: Pair) -> np.ndarray:
    """Weighted share of the variance around the average perturbation that is predicted."""
    truth = (pair.truth_cg - pair.centroid_cg).astype(np.float64)
    weight = specificity_weights(truth)
    mean = _total(weight * truth)[:, None]
    spread = _total(weight * np.square(truth - mean))
    error = _total(weight * np.square(pair.predicted_cg - pair.centroid_cg - truth))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, 1 - error / spread, np.nan)


_SOURCE = (
    "Mejia et al. 2025, arXiv:2506.22641; their weight is the size of a t statistic against all "
    "other perturbations, which means do not have: here the size of the difference from the mean "
    "training perturbation"
)
_UNDEFINED = "there is no training perturbation to weight by, or no variation around it"
wmse = MetricCard(
    name="wmse",
    summary="squared error weighted by how specific each readout is to the perturbation",
    source=_SOURCE,
    fn=weighted_error,
    better="lower",
    best=0.0,
    bounds=(0.0, np.inf),
    unit="readout squared",
    undefined=_UNDEFINED,
    ceiling="squared_error",
    needs_train=True,
)
weighted_r2_delta = MetricCard(
    name="weighted_r2_delta",
    summary="weighted coefficient of determination of the difference from the mean perturbation",
    source=_SOURCE,
    fn=weighted_determination,
    better="higher",
    best=1.0,
    bounds=(-np.inf, 1.0),
    undefined=_UNDEFINED,
    ceiling="determination",
    needs_train=True,
)
