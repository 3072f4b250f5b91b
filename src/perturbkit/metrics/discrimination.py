"""Perturbation discrimination: is the own perturbation the nearest to its prediction?"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numba
import numpy as np

from perturbkit.core.condition import conditions_of
from perturbkit.metrics.card import MetricCard, Pair

Distance = Literal["l1", "l2", "cosine"]
TIE = 1e-6
"""Relative difference of distances below which they tie: the precision of float32 input."""


def mid_rank_score(distance_cq: np.ndarray, own_c: np.ndarray) -> np.ndarray:
    """Share of the other candidates that are farther than the own one; ties count half.

    Args:
        distance_cq: from each prediction to each candidate; NaN takes a candidate out.
        own_c: position of the own candidate of each prediction.

    Returns:
        1 where the own candidate is nearest, 0.5 at random, 0 where it is the farthest; NaN
        without another candidate.
    """
    own = distance_cq[np.arange(len(own_c)), own_c][:, None]
    valid = np.isfinite(distance_cq)
    valid[np.arange(len(own_c)), own_c] = False
    with np.errstate(invalid="ignore"):
        tied = np.abs(distance_cq - own) <= TIE * np.abs(own) + 1e-12
        nearer = (distance_cq < own) & ~tied
    n = (valid & np.isfinite(own)).sum(1)
    lost = (valid & nearer).sum(1) + 0.5 * (valid & tied).sum(1)
    return 1 - np.divide(lost, n, out=np.full(len(n), np.nan), where=n > 0)


def distances(
    predicted_cg: np.ndarray, truth_qg: np.ndarray, kind: Distance, skip_c: list[np.ndarray]
) -> np.ndarray:
    """Distance of each predicted change to each measured one, float64 [c, q].

    Over readouts measured on both sides, and without the readouts listed for each prediction.
    """
    if not (np.isnan(predicted_cg).any() or np.isnan(truth_qg).any()):
        return _complete(predicted_cg.astype(np.float64), truth_qg.astype(np.float64), kind, skip_c)
    result = np.empty((len(predicted_cg), len(truth_qg)))
    for c, skip in enumerate(skip_c):
        kept = ~np.isnan(predicted_cg[c])
        kept[skip] = False
        result[c] = _row(predicted_cg[c, kept].astype(np.float64), truth_qg[:, kept], kind)
    return result


def gap_sums(x_cg: np.ndarray, y_qg: np.ndarray, *, absolute: bool) -> np.ndarray:
    """Sum over readouts of the absolute or squared differences of all pairs of rows, float64.

    scipy's cdist does the same, but importing scipy.spatial costs more than most tables do.
    """
    result = np.zeros((len(x_cg), len(y_qg)))
    _sum_gaps(x_cg, y_qg, absolute, result)
    return result


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _sum_gaps(x_cg, y_qg, absolute, result):  # noqa: ANN001, ANN202
    for c in range(x_cg.shape[0]):
        for q in range(y_qg.shape[0]):
            total = 0.0
            if absolute:
                for g in range(x_cg.shape[1]):
                    total += abs(x_cg[c, g] - y_qg[q, g])
            else:
                for g in range(x_cg.shape[1]):
                    gap = x_cg[c, g] - y_qg[q, g]
                    total += gap * gap
            result[c, q] = total


def _complete(
    predicted_cg: np.ndarray, truth_qg: np.ndarray, kind: Distance, skip_c: list[np.ndarray]
) -> np.ndarray:
    """Distances where everything is measured: all readouts at once, the skipped ones taken off."""
    sizes = np.array([predicted_cg.shape[1] - len(skip) for skip in skip_c])
    if kind == "cosine":
        product = predicted_cg @ truth_qg.T
        own = np.square(predicted_cg).sum(1)
        square = np.repeat(np.square(truth_qg).sum(1)[None], len(skip_c), 0)
        for c, skip in enumerate(skip_c):
            product[c] -= truth_qg[:, skip] @ predicted_cg[c, skip]
            own[c] -= np.square(predicted_cg[c, skip]).sum()
            square[c] -= np.square(truth_qg[:, skip]).sum(1)
        scale = np.sqrt(np.maximum(own[:, None], 0) * np.maximum(square, 0))
        similarity = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
        return np.where(sizes[:, None] > 0, 1 - similarity, np.nan)
    result = gap_sums(predicted_cg, truth_qg, absolute=kind == "l1")
    for c, skip in enumerate(skip_c):
        gap = np.abs(truth_qg[:, skip] - predicted_cg[c, skip])
        result[c] -= (gap if kind == "l1" else gap**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.maximum(result, 0) / sizes[:, None]


def _row(predicted_g: np.ndarray, truth_qg: np.ndarray, kind: Distance) -> np.ndarray:
    """Distance of one prediction to each candidate."""
    if not predicted_g.size:
        return np.full(len(truth_qg), np.nan)
    measured = ~np.isnan(truth_qg)
    n = measured.sum(1)
    if kind == "cosine":
        truth = np.where(measured, truth_qg, 0).astype(np.float64)
        norm_p = np.sqrt(measured @ np.square(predicted_g))
        norm_q = np.sqrt(np.square(truth).sum(1))
        scale = norm_p * norm_q
        product = truth @ predicted_g
        similarity = np.divide(product, scale, out=np.zeros(len(n)), where=scale > 0)
        return np.where(n > 0, 1 - similarity, np.nan)
    gap = np.where(measured, truth_qg - predicted_g, 0)
    total = np.abs(gap).sum(1) if kind == "l1" else np.square(gap).sum(1)
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)


def own_targets(pair: Pair) -> list[np.ndarray]:
    """Positions of the readouts that each condition targets directly."""
    readouts = pair.truth.readouts
    found = [readouts.find(c.targets) for c in conditions_of(pair.truth.conditions)]
    return [positions[positions >= 0] for positions in found]


def discrimination(pair: Pair, kind: Distance) -> np.ndarray:
    """Rank of the own measured change among those of the same context, by distance.

    The readouts a perturbation targets are left out of its row: that a knocked-down gene goes
    down is known without any model.
    """
    scores = np.full(pair.truth.conditions.height, np.nan)
    targets = own_targets(pair)
    for context in np.unique(pair.truth.contexts):
        rows = np.flatnonzero(pair.truth.contexts == context)
        distance = distances(
            pair.predicted_delta_cg[rows], pair.truth_delta_cg[rows], kind,
            [targets[i] for i in rows],
        )  # fmt: skip
        scores[rows] = mid_rank_score(distance, np.arange(len(rows)))
    return scores


def _card(kind: Distance, words: str) -> MetricCard:
    fn: Callable[[Pair], np.ndarray] = partial(discrimination, kind=kind)
    return MetricCard(
        name=f"discrimination_{kind}",
        summary=f"share of other perturbations of the context farther from the prediction, {words}",
        source=(
            "perturbation discrimination score (Virtual Cell Challenge 2025); here 1 - rank/(n-1) "
            "so that 1 is best and 0.5 random, ties at mid-rank, signed changes, own target left "
            "out, candidates of the same context only"
        ),
        fn=fn,
        better="higher",
        best=1.0,
        bounds=(0.0, 1.0),
        undefined="its context has no other perturbation to tell it from",
    )


l1 = _card("l1", "by mean absolute difference")
l2 = _card("l2", "by Euclidean distance")
cosine = _card("cosine", "by cosine of the changes")
