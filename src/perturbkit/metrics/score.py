"""Scores of every model on the same conditions: values, intervals, ceiling, reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from perturbkit.core.errors import SchemaError, unknown_name
from perturbkit.core.responses import Responses
from perturbkit.metrics import METRICS
from perturbkit.metrics.align import Aligned, align
from perturbkit.metrics.bootstrap import draw_weights, interval, weighted_means
from perturbkit.metrics.card import MetricCard

CEILING = "ceiling (split halves)"
"""The name under which one half of the cells predicts the other half."""
LEVEL = 0.95
"""Coverage of the intervals."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What `score` found; `table` is for people, `conditions` for further analysis."""

    values: dict[tuple[str, str], np.ndarray]
    """score of each condition, by model and metric; NaN where there is none"""
    reasons: dict[tuple[str, str], list[str]]
    """why each NaN is one, by model and metric; empty text elsewhere"""
    cards: tuple[MetricCard, ...]
    """the metrics, in order"""
    scored: pl.DataFrame
    """the conditions that were scored, with their `key`"""
    weights_bc: np.ndarray
    """bootstrap draws, shared by all models and metrics"""
    notes: list[str]
    """what could not be compared"""

    @property
    def models(self) -> list[str]:
        """Models in order; the ceiling last where it exists."""
        return list(dict.fromkeys(model for model, _ in self.values))

    @property
    def complete(self) -> bool:
        """Whether every model has a value of every metric."""
        return bool(self.table["value"].is_not_nan().all())

    @property
    def conditions(self) -> pl.DataFrame:
        """Long table: model, metric, key, value, reason."""
        parts = [
            pl.DataFrame(
                {"model": model, "metric": metric, "key": self.scored["key"], "value": values,
                 "reason": self.reasons[model, metric]},
            )
            for (model, metric), values in self.values.items()
        ]  # fmt: skip
        return pl.concat(parts)

    @property
    def table(self) -> pl.DataFrame:
        """A row per model and metric: mean over conditions, interval, count and reason."""
        matrix = np.stack(list(self.values.values()), 1)
        low, high = interval(matrix, self.weights_bc, LEVEL)
        cards = {card.name: card for card in self.cards}
        rows = []
        for i, (model, metric) in enumerate(self.values):
            valid = matrix[~np.isnan(matrix[:, i]), i]
            value = float(valid.mean()) if len(valid) else float("nan")
            rows.append({
                "model": model, "metric": metric, "value": value,
                "low": float(low[i]), "high": float(high[i]), "n": len(valid),
                "better": cards[metric].better, "best": cards[metric].best,
                "reason": _summary(self.reasons[model, metric]),
            })  # fmt: skip
        return pl.DataFrame(rows, infer_schema_length=None)

    def compare(self, model: str, other: str) -> pl.DataFrame:
        """Paired difference of two models, on the conditions both predict.

        Returns:
            A row per metric: model, other, metric, `difference` (model minus other) with its
            interval over perturbations, `n`, `better`, and `share`, the share of draws in which
            `model` is the better one (ties count half).

        Raises:
            UnknownNameError: a model was not scored.
        """
        for name in (model, other):
            if name not in self.models:
                raise unknown_name("scored model", name, self.models)
        rows = []
        for card in self.cards:
            gap = self.values[model, card.name] - self.values[other, card.name]
            valid = gap[~np.isnan(gap)]
            low, high = interval(gap[:, None], self.weights_bc, LEVEL)[:, 0]
            draws = weighted_means(gap[:, None], self.weights_bc)[:, 0]
            draws = draws[~np.isnan(draws)] * (1 if card.better == "higher" else -1)
            wins = (draws > 0).mean() + 0.5 * (draws == 0).mean() if len(draws) else np.nan
            rows.append({
                "model": model, "other": other, "metric": card.name,
                "difference": float(valid.mean()) if len(valid) else float("nan"),
                "low": float(low), "high": float(high), "n": len(valid),
                "better": card.better, "share": float(wins),
            })  # fmt: skip
        return pl.DataFrame(rows, infer_schema_length=None)


def score(
    truth: Responses,
    predictions: Mapping[str, Responses],
    *,
    train: Responses | None,
    metrics: Sequence[str | MetricCard] | None = None,
    rng: np.random.Generator,
    n_bootstrap: int = 1000,
) -> Scores:
    """Score predictions of the same conditions by several models.

    The measured control is the origin of both sides; controls themselves are never scored. Rows a
    model refuses are NaN and counted, never filled. Where truth has halves, the last model of the
    result is the ceiling: one half of the cells predicting the other, stepped up to full size as
    each metric's card says.

    Args:
        truth: measured conditions; with their controls, unless the unit is relative to control.
        predictions: of each model.
        train: what the models were fitted on; None where unknown.
        metrics: names from `METRICS`, or cards of your own; all of `METRICS` by default.
        rng: for the bootstrap.
        n_bootstrap: number of draws.

    Raises:
        UnknownNameError: no metric of that name.
        UnitError: mixed units or scales.
        SchemaError: nothing to score, a control is missing, or a model has the ceiling's name.
    """
    if CEILING in predictions:
        message = f"a model is named {CEILING!r}, which is the ceiling's name; rename the model"
        raise SchemaError(message)
    cards = tuple(
        m if isinstance(m, MetricCard) else METRICS[m]
        for m in (METRICS if metrics is None else metrics)
    )
    aligned = align(truth, predictions, train)
    values, reasons = {}, {}
    for model in aligned.predictions:
        pair = aligned.pair(model)
        for card in cards:
            values[model, card.name] = card.fn(pair)
            reasons[model, card.name] = _why(
                values[model, card.name], aligned.reasons[model], card, train
            )
    pairs = aligned.half_pairs()
    for card in cards if pairs else ():
        both = np.mean([card.fn(pair) for pair in pairs], 0)
        values[CEILING, card.name] = card.replicate(both)
        absent = _without_halves(aligned)
        reasons[CEILING, card.name] = _why(values[CEILING, card.name], absent, card, train)
    scored = aligned.truth.conditions.with_columns(key=pl.Series(aligned.truth.keys))
    weights = draw_weights(scored["perturbation"].to_numpy().astype(str), n_bootstrap, rng)
    return Scores(values, reasons, cards, scored, weights, aligned.notes)


def _why(
    values: np.ndarray, rows: list[str], card: MetricCard, train: Responses | None
) -> list[str]:
    """Say for each NaN whether the row or the metric is the cause."""
    undefined = card.undefined
    if card.needs_train and train is None:
        undefined = "needs the training responses"
    pairs = zip(np.isnan(values), rows, strict=True)
    return [(row or undefined) if nan else "" for nan, row in pairs]


def _without_halves(aligned: Aligned) -> list[str]:
    assert aligned.truth.halves is not None
    lost = np.asarray(np.isnan(aligned.truth.halves).all(2).any(0))
    return ["too few cells for two halves" if x else "" for x in lost]


def _summary(reasons: list[str]) -> str:
    """Count the reasons: '3 of 40 refused by the model'."""
    counts: dict[str, int] = {}
    for reason in reasons:
        if reason:
            counts[reason] = counts.get(reason, 0) + 1
    return "; ".join(f"{n} of {len(reasons)}: {reason}" for reason, n in counts.items())
