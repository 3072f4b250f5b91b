"""Pearson correlation of each condition's change against the measured control."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair
from perturbkit.metrics.pearson import pearson_rows


def pearson_of_delta(pair: Pair) -> np.ndarray:
    """Correlation of predicted and measured change; 1 is perfect, no change at all scores 0."""
    return pearson_rows(pair.truth_delta_cg, pair.predicted_delta_cg)


card = MetricCard(
    name="pearson_delta",
    summary="Pearson correlation of the change against the measured control",
    source=(
        "cell-eval 0.8.2 `pearson_delta`, except that the measured control is the origin of both "
        "sides and a prediction of no change scores 0"
    ),
    fn=pearson_of_delta,
    better="higher",
    best=1.0,
    bounds=(-1.0, 1.0),
    undefined="the measured change does not vary over readouts",
    ceiling="correlation",
)
