"""Whether the spread of an ensemble says how wrong it is: coverage, calibration, ranking."""

import numpy as np
import polars as pl
from scipy import special

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.metrics.align import align
from perturbkit.metrics.pearson import pearson_rows
from perturbkit.metrics.rmse import mean_measured

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def coverage(truth_cg: np.ndarray, mean_cg: np.ndarray, std_cg: np.ndarray) -> dict[float, float]:
    """Share of measured values inside each central normal interval of the prediction."""
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.abs(truth_cg - mean_cg) / std_cg
    known = np.isfinite(truth_cg) & np.isfinite(mean_cg) & np.isfinite(std_cg)
    size = size[known]
    if not size.size:
        return dict.fromkeys(LEVELS, float("nan"))
    limits = {level: float(special.ndtri((1 + level) / 2)) for level in LEVELS}
    return {level: float(np.mean(size <= limit)) for level, limit in limits.items()}


def interval_coverage(truth: Responses, predicted: Responses) -> dict[float, float]:
    """Share of measured values inside the calibrated interval of each level."""
    inside = {}
    for level in LEVELS:
        low, high = predicted.interval(level)
        known = np.isfinite(truth.mean_cg) & np.isfinite(low)
        within = (truth.mean_cg >= low) & (truth.mean_cg <= high)
        inside[level] = float(within[known].mean()) if known.any() else float("nan")
    return inside


def calibration(truth: Responses, predicted: Responses) -> pl.DataFrame:
    """Compare stated and observed uncertainty of predictions.

    Args:
        truth: measured conditions with their controls.
        predicted: with calibrated intervals (`spread`), or an ensemble of at least two members,
            whose deviation then stands for the error.

    Returns:
        A row per level: `level`, `coverage`; then `expected_calibration_error` (mean absolute
        difference of the two) and `spread_error_correlation` (over conditions, of the logarithms
        of mean spread and root mean squared error), the same in every row.

    Raises:
        SchemaError: one member and no calibrated intervals.
    """
    if predicted.spread is None and len(predicted.values) < 2:
        message = "the prediction has one member and states no uncertainty; predict an ensemble"
        raise SchemaError(message)
    aligned = align(truth, {"model": predicted}, None)
    side = aligned.predictions["model"]
    if side.spread is None:
        inside, width_cg = coverage(aligned.truth.mean_cg, side.mean_cg, side.std_cg), side.std_cg
    else:
        inside, width_cg = interval_coverage(aligned.truth, side), side.spread.half_width(0.8)
    gap = np.array([inside[level] - level for level in LEVELS])
    error = np.sqrt(mean_measured(np.square(aligned.truth.mean_cg - side.mean_cg)))
    spread = mean_measured(width_cg)
    known = (error > 0) & (spread > 0)
    logs = np.log(spread[known])[None], np.log(error[known])[None]
    r = float(pearson_rows(logs[1], logs[0])[0]) if known.sum() > 1 else float("nan")
    return pl.DataFrame({
        "level": list(LEVELS), "coverage": list(inside.values()),
        "expected_calibration_error": float(np.abs(gap).mean()),
        "spread_error_correlation": r,
    })  # fmt: skip
