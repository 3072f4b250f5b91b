"""Pearson correlation of each condition's values."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair


def pearson_rows(truth_cg: np.ndarray, predicted_cg: np.ndarray) -> np.ndarray:
    """Pearson correlation of each pair of rows over the readouts measured in both.

    A constant prediction says nothing and gets 0, so that predicting no change is a score and not
    a way out; a constant truth, or fewer than two readouts, gets NaN.
    """
    measured = ~(np.isnan(truth_cg) | np.isnan(predicted_cg))
    n = measured.sum(1)
    x, x_varies = _centred(truth_cg, measured, n)
    y, y_varies = _centred(predicted_cg, measured, n)
    scale = np.sqrt(np.einsum("cg,cg->c", x, x) * np.einsum("cg,cg->c", y, y))
    product = np.einsum("cg,cg->c", x, y)
    r = np.divide(product, scale, out=np.zeros(len(n)), where=x_varies & y_varies)
    return np.where(x_varies & (n >= 2), np.clip(r, -1, 1), np.nan)


def _centred(
    x_cg: np.ndarray, measured: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows minus their mean, zero where not measured, and whether each row varies."""
    x = np.where(measured, x_cg, 0).astype(np.float64)
    size = np.square(x).sum(1)
    x = np.where(measured, x - (x.sum(1) / np.maximum(n, 1))[:, None], 0)
    # float32 input: variation below its rounding is none
    return x, np.square(x).sum(1) > 1e-13 * np.maximum(size, 1e-30)


def pearson_of_values(pair: Pair) -> np.ndarray:
    """Correlation of predicted and measured values; 1 is perfect. High for any sane prediction."""
    return pearson_rows(pair.truth_cg, pair.predicted_cg)


card = MetricCard(
    name="pearson",
    summary="Pearson correlation of values over readouts (high even for predicting the control)",
    source="definition (scipy.stats.pearsonr); a constant prediction scores 0",
    fn=pearson_of_values,
    better="higher",
    best=1.0,
    bounds=(-1.0, 1.0),
    undefined="the measured readouts do not vary",
    ceiling="correlation",
)
