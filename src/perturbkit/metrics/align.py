"""Truth and predictions side by side: same conditions, same readouts, same unit, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from perturbkit.core.errors import SchemaError, UnitError
from perturbkit.core.responses import Responses
from perturbkit.core.units import MAX_LOG, RELATIVE_UNITS
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.metrics.card import Pair

SCALE = 5.0
"""Predictions whose average is this many times above or below the control's are in another unit."""
MIN_READOUTS = 20
"""Below this many readouts an average says too little of the scale."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """What is scored, and what was left out and why."""

    truth: Responses
    """measured conditions without controls"""
    control_cg: np.ndarray
    """measured control of each condition's context"""
    centroid_cg: np.ndarray
    """mean training perturbation of each condition's context; NaN without training responses"""
    predictions: dict[str, Responses]
    """of each model, in the order of truth; NaN rows where there is no usable prediction"""
    reasons: dict[str, list[str]]
    """of each model, why each condition has no usable prediction; empty text where it has one"""
    notes: list[str]
    """what a reader of the scores must know: readouts and conditions that could not be compared"""

    def pair(self, model: str) -> Pair:
        """Return the pair that metrics take."""
        return Pair(self.truth, self.predictions[model], self.control_cg, self.centroid_cg)

    def half_pairs(self) -> list[Pair]:
        """Return half against half, both ways round; empty without halves."""
        if self.truth.halves is None:
            return []
        halves = [replace(self.truth, values=h[None], halves=None) for h in self.truth.halves]
        # a condition with only one half has no ceiling
        lost = np.isnan(self.truth.halves).all(2).any(0)
        for half in halves:
            half.values[:, lost] = np.nan
        first, second = halves
        return [
            Pair(first, second, self.control_cg, self.centroid_cg),
            Pair(second, first, self.control_cg, self.centroid_cg),
        ]


def align(
    truth: Responses, predictions: Mapping[str, Responses], train: Responses | None
) -> Aligned:
    """Bring predictions into the order of truth, by condition key and readout name.

    Args:
        truth: measured conditions; with their controls, unless the unit is relative to control.
        predictions: of each model, in any order; further conditions and readouts are ignored.
        train: what models were fitted on, for the reference of Systema; its controls do not count.

    Raises:
        UnitError: a prediction is in another unit or on another scale than truth.
        SchemaError: no control, no condition to score, or no common readout.
    """
    scored = truth.select(~truth.is_control)
    if not scored.keys:
        message = "truth holds controls only; give it the perturbed conditions to score"
        raise SchemaError(message)
    for name, prediction in predictions.items():
        if prediction.unit != truth.unit:
            message = (
                f"predictions of {name!r} are in {prediction.unit} and truth is in {truth.unit}; "
                "bring both to one unit before scoring"
            )
            raise UnitError(message)
    readouts, notes = _common_readouts(scored.readouts, predictions, train)
    truth, scored = truth.with_readouts(readouts), scored.with_readouts(readouts)
    control = truth.control_of(scored.contexts)
    centroid = centroids(train, readouts, scored.contexts, control)
    aligned, reasons = {}, {}
    for name, prediction in predictions.items():
        chosen = prediction.with_readouts(readouts)
        _check_scale(name, chosen, scored, control)
        aligned[name], reasons[name] = _in_order(chosen, scored)
        absent = sum(r == "not predicted" for r in reasons[name])
        if absent:
            notes.append(f"{name}: {absent} of {len(scored.keys)} conditions are not predicted")
    return Aligned(scored, control, centroid, aligned, reasons, notes)


def centroids(
    train: Responses | None, readouts: Vocabulary, contexts: np.ndarray, control_cg: np.ndarray
) -> np.ndarray:
    """Mean over the training perturbations of each context, float32 [c, g].

    A context without training perturbations gets its control plus the mean change of the contexts
    that have some; NaN without any.
    """
    centroid = np.full(control_cg.shape, np.nan, np.float32)
    if train is None or train.is_control.all():
        return centroid
    train = train.with_readouts(readouts)
    perturbed = train.select(~train.is_control)
    for context in np.unique(contexts):
        rows, here = contexts == context, perturbed.contexts == context
        if here.any():
            centroid[rows] = mean_over_conditions(perturbed.mean_cg[here])
        else:
            change = perturbed.mean_cg - train.control_of(perturbed.contexts)
            centroid[rows] = control_cg[rows] + mean_over_conditions(change)
    return centroid


def mean_over_conditions(x_cg: np.ndarray) -> np.ndarray:
    """Mean of each readout over the conditions that measured it, NaN where none did."""
    n = (~np.isnan(x_cg)).sum(0)
    total = np.nansum(x_cg, 0, dtype=np.float64)
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0).astype(np.float32)


def _common_readouts(
    wanted: Vocabulary, predictions: Mapping[str, Responses], train: Responses | None
) -> tuple[Vocabulary, list[str]]:
    """Readouts that everyone has, in the order of truth, and what to say of the others."""
    kept, notes = np.ones(len(wanted), bool), []
    sides = dict(predictions) | ({"the training responses": train} if train is not None else {})
    for name, side in sides.items():
        has = side.readouts.find(wanted) >= 0
        if not has.any():
            message = (
                f"{name} and truth have no readout in common (truth: {', '.join(wanted[:3])}, ...; "
                f"there: {', '.join(side.readouts[:3])}, ...); map gene names to one kind first"
            )
            raise SchemaError(message)
        if not has.all():
            first = wanted[int(np.argmin(has))]
            notes.append(
                f"{name}: {(~has).sum()} of {len(wanted)} readouts are missing, {first!r} first; "
                "no model is scored on them"
            )
        kept &= has
    if not kept.any():
        message = "no readout is common to truth and all predictions; score them one at a time"
        raise SchemaError(message)
    if kept.all():
        return wanted, notes
    return Vocabulary((n for n, k in zip(wanted, kept, strict=True) if k), wanted.kind), notes


def _check_scale(name: str, predicted: Responses, truth: Responses, control_cg: np.ndarray) -> None:
    """Refuse values that cannot be in the unit they say: changes, counts or unlogged values."""
    values = predicted.mean_cg
    if not np.isfinite(values).any():
        return
    if predicted.unit == "log1p_cp10k" and np.nanmax(values) > MAX_LOG:
        message = (
            f"predictions of {name!r} reach {np.nanmax(values):,.4g}, too large for log1p of "
            "counts per 10 k; take log1p of the normalized counts before scoring"
        )
        raise UnitError(message)
    if truth.unit in RELATIVE_UNITS or truth.unit == "score" or len(truth.readouts) < MIN_READOUTS:
        return
    ours, theirs = float(np.nanmean(control_cg)), float(np.nanmean(values))
    if ours > 0 and not ours / SCALE <= theirs <= ours * SCALE:
        message = (
            f"predictions of {name!r} average {theirs:.3g} where the measured control averages "
            f"{ours:.3g}: they are changes or on another scale; give values in {truth.unit}"
        )
        raise UnitError(message)


def _in_order(prediction: Responses, truth: Responses) -> tuple[Responses, list[str]]:
    """Rows in the order of truth, and why a row is NaN.

    A row that lacks any measured readout is not scored: leaving out hard readouts must not help.
    """
    index = prediction.find(truth.keys)
    found = index >= 0
    values = np.full((len(prediction.values), *truth.mean_cg.shape), np.nan, np.float32)
    values[:, found] = prediction.values[:, index[found]]
    whole = np.asarray((np.isfinite(values).all(0) | np.isnan(truth.mean_cg)).all(1))
    empty = np.asarray(np.isnan(values).all((0, 2)))
    status = prediction.conditions["status"].to_list()
    status = [status[i] if i >= 0 else "refused" for i in index]
    reasons = []
    for i, good in enumerate(whole):
        if good:
            reasons.append("")
        elif not found[i]:
            reasons.append("not predicted")
        else:
            reasons.append("refused by the model" if empty[i] else "prediction is incomplete")
    values[:, ~whole] = np.nan
    table = truth.conditions.with_columns(status=pl.Series(status, dtype=pl.String))
    spread = prediction.spread
    if spread is not None:
        scale = np.full(truth.mean_cg.shape, np.nan, np.float32)
        scale[found] = spread.scale_cg[index[found]]
        spread = replace(spread, scale_cg=scale)
    return Responses(values, table, truth.readouts, truth.unit, spread=spread), reasons
