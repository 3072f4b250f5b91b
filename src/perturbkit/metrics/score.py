"""Scores of every model on the same conditions: values, intervals, ceiling, reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from perturbkit.core.errors import SchemaError, unknown_name
from perturbkit.core.responses import Responses
from perturbkit.metrics import METRICS
from perturbkit.metrics.align import Aligned, align
from perturbkit.metrics.bootstrap import draw_weights, interval, weighted_means
from perturbkit.metrics.card import MetricCard
from perturbkit.metrics.duplicate import interpolated, one_sided
from perturbkit.metrics.rmse import mean_measured

CEILING = "ceiling (split halves)"
"""The name under which one half of the cells predicts the other half.

It stands for a second experiment of the same size, so it is no upper bound: a model without noise
of its own correlates up to the square root of what a replicate does."""
DUPLICATE = "ceiling (interpolated duplicate)"
"""The name under which one half, shrunk towards the mean response by its noise, predicts the other.

Where effects are small against noise it is nearer to a perfect model than CEILING, which keeps a
replicate's noise; where they are large, a replicate of all cells beats a half."""
CEILINGS = (CEILING, DUPLICATE)
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
    """the conditions that were scored, with their `key` and `effect`, the root mean square of the
    measured change"""
    weights_bc: np.ndarray
    """bootstrap draws, shared by all models and metrics"""
    notes: list[str]
    """what could not be compared"""

    @property
    def models(self) -> list[str]:
        """Models in order; the ceilings last where they exist."""
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

    def by(self, column: str, *, n_bins: int = 3) -> pl.DataFrame:
        """Split the table by a column of the conditions: strata, a mean and interval for each.

        Args:
            column: `context`, `perturbation`, `kind`, ..., or `effect`, the size of the measured
                change in bins of equal number.
            n_bins: bins of `effect`.

        Raises:
            UnknownNameError: no such column.
        """
        if column not in self.scored.columns:
            raise unknown_name("column of the conditions", column, self.scored.columns)
        labels = self.scored[column]
        if labels.dtype.is_float():
            edges = np.quantile(labels.to_numpy(), np.linspace(0, 1, n_bins + 1)[1:-1])
            binned = np.searchsorted(edges, labels.to_numpy(), side="right")
            labels = pl.Series([f"{column} {b + 1} of {n_bins}" for b in binned])
        strata = labels.cast(pl.String).fill_null("none").to_numpy()
        parts = []
        for stratum in sorted(set(strata)):
            rows = np.flatnonzero(strata == stratum)
            part = replace(
                self,
                values={k: v[rows] for k, v in self.values.items()},
                reasons={k: [v[i] for i in rows] for k, v in self.reasons.items()},
                scored=self.scored[rows],
                weights_bc=self.weights_bc[:, rows],
            )
            parts.append(part.table.insert_column(0, pl.lit(stratum).alias(column)))
        return pl.concat(parts)

    def calibrated(self, negative: str, positive: str | None = None) -> pl.DataFrame:
        """Place every model between a negative control (0) and a replicate (1), metric by metric.

        Args:
            negative: the model that stands for knowing nothing specific: the mean response.
            positive: what stands for a perfect model; by default the better of the two ceilings,
                metric by metric.

        Returns:
            model, metric, `value`, `range` (positive minus negative, signed so that more is
            better) and `fraction`; NaN where the two controls do not differ in the right order:
            the metric cannot tell anything on these data.

        Raises:
            UnknownNameError: one of the two was not scored.

        Source:
            Dynamic range fraction, bioRxiv 2025.10.20.683304.
        """
        positives = CEILINGS if positive is None else (positive,)
        for name in (negative, *positives):
            if name not in self.models:
                raise unknown_name("scored model", name, self.models)
        table = self.table
        sign = pl.when(pl.col("better") == "higher").then(1.0).otherwise(-1.0)
        ends = [
            table.filter(pl.col("model").is_in(models))
            .sort(sign * pl.col("value").fill_nan(None), descending=True, nulls_last=True)
            .unique("metric", keep="first", maintain_order=True)
            .select("metric", pl.col("value").alias(name))
            for models, name in (((negative,), "low_end"), (positives, "high_end"))
        ]
        joined = table.select("model", "metric", "value", "better")
        for end in ends:
            joined = joined.join(end, on="metric", how="left", maintain_order="left")
        span = sign * (pl.col("high_end") - pl.col("low_end"))
        gain = sign * (pl.col("value") - pl.col("low_end"))
        return joined.select(
            "model", "metric", "value", span.alias("range"),
            pl.when(span > 0).then(gain / span).otherwise(float("nan")).alias("fraction"),
        )  # fmt: skip

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
    model refuses are NaN and counted, never filled. Where truth has halves, the last two models of
    the result are ceilings: one half of the cells predicting the other, as it is (CEILING) or
    shrunk (DUPLICATE), stepped up to full size as each metric's card says.

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
        SchemaError: nothing to score, a control is missing, or a model has a ceiling's name.
    """
    for name in CEILINGS:
        if name in predictions:
            message = f"a model is named {name!r}, which is a ceiling's name; rename the model"
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
    ceilings = _ceilings(aligned, cards)
    for key, found in ceilings.items():
        values[key] = found
        card = next(c for c in cards if c.name == key[1])
        reasons[key] = _why(found, _without_halves(aligned), card, train)
    change = aligned.truth.mean_cg - aligned.control_cg
    scored = aligned.truth.conditions.with_columns(
        key=pl.Series(aligned.truth.keys),
        effect=pl.Series(np.sqrt(mean_measured(np.square(change)))),
    )
    weights = draw_weights(scored["perturbation"].to_numpy().astype(str), n_bootstrap, rng)
    return Scores(values, reasons, cards, scored, weights, aligned.notes)


def _ceilings(aligned: Aligned, cards: tuple[MetricCard, ...]) -> dict[tuple[str, str], np.ndarray]:
    """Scores of one half predicting the other, as it is and shrunk; nothing without halves."""
    pairs, found = aligned.half_pairs(), {}
    shrunk = interpolated(pairs)
    for card in cards if pairs else ():
        halves = np.array([card.fn(pair) for pair in pairs])
        found[CEILING, card.name] = card.replicate(halves.mean(0))
        duplicate = [card.fn(pair) for pair in shrunk]
        stepped = one_sided(np.array(duplicate), halves, card.ceiling)
        found[DUPLICATE, card.name] = stepped.mean(0)
    return {key: found[key] for key in sorted(found, key=lambda key: CEILINGS.index(key[0]))}


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
