"""Whether the spread of an ensemble says how wrong it is: coverage, calibration, ranking."""

import numpy as np
import polars as pl
from scipy import special

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.metrics.align import align
from perturbkit.metrics.pearson import pearson_rows

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


def calibration(truth: Responses, predicted: Responses) -> pl.DataFrame:
    """Compare stated and observed uncertainty of an ensemble's predictions.

    Args:
        truth: measured conditions with their controls.
        predicted: an ensemble of at least two members.

    Returns:
        A row per level: `level`, `coverage`; then `expected_calibration_error` (mean absolute
        difference of the two) and `spread_error_correlation` (over conditions, of the logarithms
        of mean spread and root mean squared error), the same in every row.

    Raises:
        SchemaError: fewer than two members, which have no spread.
    """
    if len(predicted.values) < 2:
        message = "the prediction has one member and states no uncertainty; predict an ensemble"
        raise SchemaError(message)
    aligned = align(truth, {"model": predicted}, None)
    side = aligned.predictions["model"]
    inside = coverage(aligned.truth.mean_cg, side.mean_cg, side.std_cg)
    gap = np.array([inside[level] - level for level in LEVELS])
    error = np.sqrt(np.nanmean(np.square(aligned.truth.mean_cg - side.mean_cg), 1))
    spread = np.nanmean(side.std_cg, 1)
    known = (error > 0) & (spread > 0)
    logs = np.log(spread[known])[None], np.log(error[known])[None]
    r = float(pearson_rows(logs[1], logs[0])[0]) if known.sum() > 1 else float("nan")
    return pl.DataFrame({
        "level": list(LEVELS), "coverage": list(inside.values()),
        "expected_calibration_error": float(np.abs(gap).mean()),
        "spread_error_correlation": r,
    })  # fmt: skip
