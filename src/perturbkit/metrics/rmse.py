"""Root mean squared error of each condition."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair


def mean_measured(x_cg: np.ndarray) -> np.ndarray:
    """Mean over the readouts that are not NaN, float64 [conditions]; NaN where all are."""
    measured = ~np.isnan(x_cg)
    total = np.where(measured, x_cg, 0).sum(1, dtype=np.float64)
    n = measured.sum(1)
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)


def root_mean_squared_error(pair: Pair) -> np.ndarray:
    """Root of the mean squared difference over measured readouts; 0 is perfect."""
    return np.sqrt(mean_measured(np.square(pair.predicted_cg - pair.truth_cg)))


card = MetricCard(
    name="rmse",
    summary="root mean squared error over readouts",
    source="definition; readouts that were not measured do not count",
    fn=root_mean_squared_error,
    better="lower",
    best=0.0,
    bounds=(0.0, np.inf),
    unit="readout",
    undefined="no readout was measured",
    ceiling="error",
)
