"""PerturBench's scores: means and log fold changes, compared by cosine, and ranks."""

from functools import partial

import numpy as np

from perturbkit.core.units import RELATIVE_UNITS
from perturbkit.metrics.card import MetricCard, Pair
from perturbkit.metrics.discrimination import Distance, distances, mid_rank_score
from perturbkit.metrics.rmse import mean_measured

OFFSET = 0.1
"""Added to means before the logarithm."""


def log_fold_changes(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Measured and predicted log2 fold change; the change itself in units relative to control.

    Expression is never negative, so a negative prediction counts as none.
    """
    if pair.truth.unit in RELATIVE_UNITS:
        return pair.truth_delta_cg, pair.predicted_delta_cg
    control = np.log2(np.maximum(pair.control_cg, 0) + OFFSET)
    truth = np.log2(np.maximum(pair.truth_cg, 0) + OFFSET) - control
    predicted = np.log2(np.maximum(pair.predicted_cg, 0) + OFFSET)
    return truth, predicted - control


def cosine_rows(truth_cg: np.ndarray, predicted_cg: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows; 0 for a prediction of zero, NaN for a truth of zero."""
    measured = ~np.isnan(truth_cg)
    truth = np.where(measured, truth_cg, 0).astype(np.float64)
    predicted = np.where(measured, predicted_cg, 0).astype(np.float64)
    norms = np.linalg.norm(truth, axis=1), np.linalg.norm(predicted, axis=1)
    product = np.einsum("cg,cg->c", truth, predicted)
    scale = norms[0] * norms[1]
    cosine = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    cosine = np.where(np.isnan(scale), np.nan, np.clip(cosine, -1, 1))
    return np.where(norms[0] > 0, cosine, np.nan)


def cosine_of_means(pair: Pair) -> np.ndarray:
    """Cosine of mean expression."""
    return cosine_rows(pair.truth_cg, pair.predicted_cg)


def cosine_of_fold_changes(pair: Pair) -> np.ndarray:
    """Cosine of log fold changes."""
    return cosine_rows(*log_fold_changes(pair))


def rmse_of_fold_changes(pair: Pair) -> np.ndarray:
    """Root mean squared error of log fold changes."""
    truth, predicted = log_fold_changes(pair)
    return np.sqrt(mean_measured(np.square(predicted - truth)))


def rank_among_predictions(pair: Pair, kind: Distance) -> np.ndarray:
    """Share of the other predictions of the context nearer to the truth than the own one.

    0 is perfect, 0.5 random; a model that predicts the same for all is at 0.5 as well.
    """
    scores = np.full(pair.truth.conditions.height, np.nan)
    if kind == "cosine":
        truth, predicted = log_fold_changes(pair)
    else:
        truth, predicted = pair.truth_cg, pair.predicted_cg
    offered = ~np.isnan(pair.predicted_cg).all(1)
    for context in np.unique(pair.truth.contexts):
        rows = np.flatnonzero((pair.truth.contexts == context) & offered)
        skip = [np.zeros(0, np.int64)] * len(rows)
        distance = distances(predicted[rows], truth[rows], kind, skip)
        scores[rows] = 1 - mid_rank_score(distance.T, np.arange(len(rows)))
    return scores


_SOURCE = (
    "PerturBench (arXiv:2408.10609); ties at mid-rank, candidates of the same context, a negative "
    "prediction of expression has the fold change of none"
)
cosine = MetricCard(
    name="cosine", summary="cosine of mean expression (high even for predicting the control)",
    source=_SOURCE, fn=cosine_of_means, better="higher", best=1.0, bounds=(-1.0, 1.0),
    undefined="the measured values are zero", ceiling="correlation",
)  # fmt: skip
cosine_logfc = MetricCard(
    name="cosine_logfc", summary="cosine of log fold changes, log2(mean + 0.1) against control",
    source=_SOURCE, fn=cosine_of_fold_changes, better="higher", best=1.0, bounds=(-1.0, 1.0),
    undefined="nothing changes", ceiling="correlation",
)  # fmt: skip
rmse_logfc = MetricCard(
    name="rmse_logfc", summary="root mean squared error of log fold changes",
    source=_SOURCE, fn=rmse_of_fold_changes, better="lower", best=0.0, bounds=(0.0, np.inf),
    undefined="nothing was measured", ceiling="error",
)  # fmt: skip
rank_rmse = MetricCard(
    name="rank_rmse", summary="share of other predictions nearer to the truth than the own, RMSE",
    source=_SOURCE, fn=partial(rank_among_predictions, kind="l2"), better="lower", best=0.0,
    bounds=(0.0, 1.0), undefined="its context has no other prediction",
)  # fmt: skip
rank_cosine_logfc = MetricCard(
    name="rank_cosine_logfc",
    summary="share of other predictions nearer to the truth than the own, cosine of fold changes",
    source=_SOURCE, fn=partial(rank_among_predictions, kind="cosine"), better="lower", best=0.0,
    bounds=(0.0, 1.0), undefined="its context has no other prediction",
)  # fmt: skip
