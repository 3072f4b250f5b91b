"""Coefficient of determination of each condition."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair


def r2_rows(truth_cg: np.ndarray, predicted_cg: np.ndarray) -> np.ndarray:
    """1 - SSE / SST of each row over its measured readouts; NaN where truth does not vary."""
    measured = ~(np.isnan(truth_cg) | np.isnan(predicted_cg))
    n = np.maximum(measured.sum(1), 1)
    truth = np.where(measured, truth_cg, 0).astype(np.float64)
    residual = np.where(measured, predicted_cg, 0) - truth
    centred = np.where(measured, truth - (truth.sum(1) / n)[:, None], 0)
    total = np.square(centred).sum(1)
    varies = total > 1e-12 * np.maximum(np.square(truth).sum(1), 1e-30)
    error = np.square(residual).sum(1)
    return 1 - np.divide(error, total, out=np.full(len(n), np.nan), where=varies)


def determination(pair: Pair) -> np.ndarray:
    """Share of the variance between readouts that is predicted; 1 is perfect, no lower bound."""
    return r2_rows(pair.truth_cg, pair.predicted_cg)


card = MetricCard(
    name="r2",
    summary="coefficient of determination over readouts",
    source="definition (sklearn.metrics.r2_score of each condition)",
    fn=determination,
    better="higher",
    best=1.0,
    bounds=(-np.inf, 1.0),
    undefined="the measured readouts do not vary",
    ceiling="determination",
)
