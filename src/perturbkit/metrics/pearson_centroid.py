"""Pearson correlation of each condition's difference from the average perturbation."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair
from perturbkit.metrics.pearson import pearson_rows


def pearson_of_specific_change(pair: Pair) -> np.ndarray:
    """Correlation of what is specific to a perturbation; the mean response itself scores 0."""
    truth = pair.truth_cg - pair.centroid_cg
    return pearson_rows(truth, pair.predicted_cg - pair.centroid_cg)


card = MetricCard(
    name="pearson_centroid",
    summary="Pearson correlation of the difference from the mean training perturbation (Systema)",
    source=(
        "Systema, Nature Biotechnology 2025: the reference is the average of the centroids of the "
        "training perturbations of the context; a context without any gets its control plus the "
        "mean change of the other contexts"
    ),
    fn=pearson_of_specific_change,
    better="higher",
    best=1.0,
    bounds=(-1.0, 1.0),
    undefined="there is no training perturbation to form the reference, or no variation around it",
    ceiling="correlation",
    needs_train=True,
)
