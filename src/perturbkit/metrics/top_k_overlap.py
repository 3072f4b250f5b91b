"""Overlap of the k readouts that change most."""

from functools import partial

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair


def top_k_weight(size_cg: np.ndarray, k: int) -> np.ndarray:
    """Membership of each readout in the k largest of its row; the tied share the last places."""
    size = np.where(np.isnan(size_cg), -np.inf, size_cg)
    threshold = np.partition(size, -k, axis=1)[:, -k][:, None]
    above, tied = size > threshold, size == threshold
    left = k - above.sum(1, keepdims=True)
    return above + tied * (left / np.maximum(tied.sum(1, keepdims=True), 1))


def top_k_overlap(truth_cg: np.ndarray, predicted_cg: np.ndarray, k: int) -> np.ndarray:
    """Share of the k largest absolute changes found among the k largest predicted ones.

    Args:
        truth_cg: measured change; NaN where not measured.
        predicted_cg: predicted change.
        k: how many; a row with no more than k measured readouts gets NaN.

    Returns:
        1 where the same readouts change most; k / readouts at random and for no change at all.
    """
    measured = ~(np.isnan(truth_cg) | np.isnan(predicted_cg))
    enough = measured.sum(1) > k
    scores = np.full(len(truth_cg), np.nan)
    if enough.any():
        hide = ~measured[enough]
        truth, predicted = np.abs(truth_cg[enough]), np.abs(predicted_cg[enough])
        truth[hide] = predicted[hide] = np.nan
        both = np.minimum(top_k_weight(truth, k), top_k_weight(predicted, k))
        scores[enough] = both.sum(1) / k
    return scores


def overlap_of_delta(pair: Pair, k: int) -> np.ndarray:
    """Overlap of the k largest absolute changes against the measured control."""
    return top_k_overlap(pair.truth_delta_cg, pair.predicted_delta_cg, k)


def _card(k: int) -> MetricCard:
    return MetricCard(
        name=f"top_{k}_overlap",
        summary=f"share of the {k} largest changes found among the {k} largest predicted",
        source=(
            "definition, by absolute change against the measured control; the tied share the last "
            "places"
        ),
        fn=partial(overlap_of_delta, k=k),
        better="higher",
        best=1.0,
        bounds=(0.0, 1.0),
        undefined=f"no more than {k} readouts were measured",
    )


top_20 = _card(20)
top_50 = _card(50)
top_100 = _card(100)
top_200 = _card(200)
