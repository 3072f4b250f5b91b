"""Mean absolute error of each condition."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair
from perturbkit.metrics.rmse import mean_measured


def mean_absolute_error(pair: Pair) -> np.ndarray:
    """Mean absolute difference over measured readouts; 0 is perfect."""
    return mean_measured(np.abs(pair.predicted_cg - pair.truth_cg))


card = MetricCard(
    name="mae",
    summary="mean absolute error over readouts",
    source="definition; cell-eval 0.8.2 `mae` on pseudobulk, not clipped anywhere",
    fn=mean_absolute_error,
    better="lower",
    best=0.0,
    bounds=(0.0, np.inf),
    unit="readout",
    undefined="no readout was measured",
    ceiling="error",
)
