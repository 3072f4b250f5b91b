"""The interpolated duplicate: a second measurement, shrunk to the mean response by its noise."""

from dataclasses import replace

import numpy as np

from perturbkit.metrics.align import mean_over_conditions
from perturbkit.metrics.card import Ceiling, Pair


def interpolated(halves: list[Pair]) -> list[Pair]:
    """Let one half of the cells, shrunk, predict the other, both ways round.

    A second measurement is a noisy answer, and most readouts do not respond: a model that knows
    the mean response beats it there. Each value is therefore moved towards the mean over the
    context's conditions, by the share of noise in it. Noise is a readout's mean squared difference
    of the halves over conditions; signal is what the halves share, as a readout's size times a
    condition's.

    Args:
        halves: one half predicting the other and the reverse, as `Aligned.half_pairs` has them.

    Returns:
        Pairs whose prediction is the shrunk half.

    Source:
        The idea of bioRxiv 2025.10.20.683304; weights by empirical Bayes instead of p-values.
    """
    shrunk = []
    for pair in halves:
        values = pair.predicted_cg.copy()
        for context in np.unique(pair.truth.contexts):
            rows = np.flatnonzero(pair.truth.contexts == context)
            values[rows] = _shrunk(values[rows], pair.truth_cg[rows])
        shrunk.append(replace(pair, predicted=replace(pair.predicted, values=values[None])))
    return shrunk


def _shrunk(own_cg: np.ndarray, other_cg: np.ndarray) -> np.ndarray:
    mean = mean_over_conditions((own_cg + other_cg) / 2)
    gaps = own_cg - mean, other_cg - mean
    shared = gaps[0] * gaps[1]
    noise_g = mean_over_conditions(np.square(own_cg - other_cg) / 2)
    signal_g = np.maximum(mean_over_conditions(shared), 0)
    size_c = np.maximum(mean_over_conditions(shared.T), 0)
    typical = float(np.nanmean(size_c)) if np.isfinite(size_c).any() else 0.0
    if typical <= 0:
        return np.where(np.isnan(own_cg), own_cg, mean)
    signal_cg = size_c[:, None] / typical * signal_g
    total = signal_cg + noise_g
    weight = np.divide(signal_cg, total, out=np.zeros_like(total), where=total > 0)
    return (mean + weight * gaps[0]).astype(np.float32)


def one_sided(score: np.ndarray, halves: np.ndarray, ceiling: Ceiling) -> np.ndarray:
    """Step a score against half of the cells up to one against all of them.

    Only the truth's noise shrinks, by half, where `stepped_up` shrinks that of both sides. Two
    halves differ by four units of the noise variance of all cells, and the half that stands for
    the truth has one unit more than all cells have.

    Args:
        score: of predictions against one half.
        halves: the same score of one half against the other, not stepped up.
        ceiling: how the score behaves.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if ceiling == "correlation":
            factor = np.sqrt(2 / (1 + np.clip(halves, 0, 1)))
            return np.where(score > 0, np.minimum(score * factor, 1), score)
        if ceiling == "squared_error":
            return np.maximum(score - halves / 4, 0)
        if ceiling == "error":
            return np.sqrt(np.maximum(np.square(score) - np.square(halves) / 4, 0))
        if ceiling == "determination":
            return np.minimum(score + (1 - halves) / 4, 1)
        return score
