"""Systema's centroid accuracy: is the own centroid nearer than the others?"""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair
from perturbkit.metrics.discrimination import distances, mid_rank_score


def centroid_accuracy(pair: Pair) -> np.ndarray:
    """Share of the other measured centroids of the context farther than the own; 1 is perfect."""
    scores = np.full(pair.truth.conditions.height, np.nan)
    nothing = np.zeros(0, np.int64)
    for context in np.unique(pair.truth.contexts):
        rows = np.flatnonzero(pair.truth.contexts == context)
        skip = [nothing] * len(rows)
        distance = distances(pair.predicted_cg[rows], pair.truth_cg[rows], "l2", skip)
        scores[rows] = mid_rank_score(distance, np.arange(len(rows)))
    return scores


card = MetricCard(
    name="centroid_accuracy",
    summary="share of other measured centroids farther from the prediction (Euclidean, all genes)",
    source="Systema, Nature Biotechnology 2025; ties at mid-rank, candidates of the same context",
    fn=centroid_accuracy,
    better="higher",
    best=1.0,
    bounds=(0.0, 1.0),
    undefined="its context has no other perturbation to tell it from",
)
