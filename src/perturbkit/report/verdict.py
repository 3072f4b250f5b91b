"""The headline: does the model beat the best baseline, by how much, and how far is the ceiling."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from perturbkit.core.rng import named_rng
from perturbkit.metrics import METRICS
from perturbkit.metrics.bootstrap import draw_weights, weighted_means
from perturbkit.metrics.score import CEILING, LEVEL

N_DRAWS = 2000
SAME = 0.0005
"""Differences that print as 0.000."""


@dataclass(frozen=True, eq=False)
class Judged:
    """The two tables of a scored run, and who is who in them."""

    scores: pl.DataFrame
    """model, metric, value, low, high, n, better, reason"""
    conditions: pl.DataFrame
    """model, metric, key, value"""
    model: str
    baselines: tuple[str, ...]
    perturbation_of: dict[str, str]
    """perturbation of each key: conditions of one perturbation are drawn together"""
    seed: int

    @property
    def metrics(self) -> list[str]:
        """Metrics in order, the deciding one first."""
        return self.scores["metric"].unique(maintain_order=True).to_list()

    def row(self, model: str, metric: str) -> dict[str, Any] | None:
        """Return a row of the score table, or None where it has no value."""
        found = self.scores.filter((pl.col("model") == model) & (pl.col("metric") == metric))
        found = found.filter(pl.col("value").is_not_null() & pl.col("value").is_not_nan())
        return found.row(0, named=True) if found.height else None

    def best_baseline(self, metric: str) -> str | None:
        """Return the baseline with the best mean, or None where none has one."""
        rows = [r for b in self.baselines if b != self.model and (r := self.row(b, metric))]
        if not rows:
            return None
        sign = 1 if rows[0]["better"] == "higher" else -1
        return max(rows, key=lambda r: sign * r["value"])["model"]

    def values(self, models: list[str], metric: str) -> tuple[list[str], np.ndarray]:
        """Return keys and scores [c, models] of the conditions that all of the models have."""
        mine = self.conditions.filter(pl.col("metric") == metric)
        parts = [
            mine.filter(pl.col("model") == m).select("key", pl.col("value").alias(f"value{i}"))
            for i, m in enumerate(models)
        ]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined.join(part, on="key", how="inner", maintain_order="left")
        joined = joined.fill_null(float("nan"))
        matrix = joined.drop("key").to_numpy().reshape(joined.height, len(models))
        kept = np.flatnonzero(~np.isnan(matrix).any(1))
        return [joined["key"][int(i)] for i in kept], matrix[kept]

    def draws(self, keys: list[str]) -> np.ndarray:
        """Return how often each condition counts in each draw over perturbations."""
        labels = np.array([self.perturbation_of.get(k, k) for k in keys])
        return draw_weights(labels, N_DRAWS, named_rng(self.seed, "report"))


def difference(judged: Judged, metric: str) -> dict[str, Any] | None:
    """Return how much better the model is than the best baseline, paired; above 0 is better."""
    best, row = judged.best_baseline(metric), judged.row(judged.model, metric)
    if best is None or row is None:
        return None
    keys, values = judged.values([judged.model, best], metric)
    if not keys:
        return None
    sign = 1 if row["better"] == "higher" else -1
    gap = sign * (values[:, :1] - values[:, 1:])
    low, high = _quantiles(weighted_means(gap, judged.draws(keys))[:, 0])
    tone = "good" if low > 0 else "bad" if high < 0 else "even"
    return {"baseline": best, "value": float(gap.mean()), "low": low, "high": high,
            "n": len(keys), "tone": tone}  # fmt: skip


def ceiling_share(judged: Judged, metric: str) -> dict[str, Any] | None:
    """Return the model's mean as a share of the ceiling's, on the conditions both have.

    Where lower is better it is the ceiling's error as a share of the model's. None where there is
    no ceiling, or one too close to 0 to divide by.
    """
    row = judged.row(judged.model, metric)
    if row is None or judged.row(CEILING, metric) is None:
        return None
    keys, values = judged.values([judged.model, CEILING], metric)
    if not keys:
        return None
    top, bottom = (0, 1) if row["better"] == "higher" else (1, 0)
    means = weighted_means(values, judged.draws(keys))
    if values[:, bottom].mean() <= 0 or np.quantile(means[:, bottom], 0.01) <= 0:
        return None
    low, high = _quantiles(means[:, top] / means[:, bottom])
    share = float(values[:, top].mean() / values[:, bottom].mean())
    return {"ceiling": float(values[:, 1].mean()), "value": share, "low": low, "high": high,
            "n": len(keys)}  # fmt: skip


def _quantiles(draws: np.ndarray) -> tuple[float, float]:
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


_HEADLINES = {
    "good": "Yes: {model} beats the best baseline, {baseline}.",
    "bad": "No: {model} does worse than the best baseline, {baseline}.",
    "even": "Undecided: {model} and the best baseline, {baseline}, cannot be told apart.",
}


def verdict(judged: Judged) -> dict[str, Any]:
    """Return tone, headline, sentences and the key numbers, as plain values."""
    scored = [m for m in judged.metrics if judged.row(judged.model, m)]
    if not scored:
        reasons = judged.scores.filter(pl.col("model") == judged.model)["reason"].to_list()
        return none_yet(
            f"{judged.model} could not be scored",
            next((r for r in reasons if r), "the score table has no row of it"),
        )
    metric = scored[0]
    row = judged.row(judged.model, metric) or {}
    gap, share = difference(judged, metric), ceiling_share(judged, metric)
    numbers = [_number(judged.model, metric, row)]
    if gap is None:
        tone, headline = "even", f"{judged.model} was scored, with no baseline beside it."
        sentences = ["Without a baseline nobody can say whether the score is good."]
    else:
        tone = gap["tone"]
        headline = _HEADLINES[tone].format(model=judged.model, baseline=gap["baseline"])
        sentences = [_compared(judged, metric, row, gap)]
        baseline = judged.row(gap["baseline"], metric) or {}
        numbers += [
            _number(f"best baseline: {gap['baseline']}", metric, baseline),
            {"label": f"better by ({metric}, paired)", "form": "signed", **gap},
        ]
    sentences.append(_ceiling_sentence(judged, metric, row["better"], share))
    if share is not None:
        numbers.append({"label": "share of the ceiling", "form": "percent", **share})
    if gap is not None and len(scored) > 1:
        sentences.append(_elsewhere(judged, scored))
    return {"tone": tone, "headline": headline, "sentences": sentences, "metric": metric,
            "numbers": numbers, "baseline": gap["baseline"] if gap else None}  # fmt: skip


def none_yet(what: str, why: str) -> dict[str, Any]:
    """Return the verdict of a run that has no scores."""
    return {"tone": "none", "headline": f"No verdict: {what}.", "sentences": [f"{why}."],
            "metric": None, "numbers": [], "baseline": None}  # fmt: skip


def percent(share: float | None) -> str:
    """Return a share in per cent, an en dash for none."""
    return "–" if share is None else f"{share * 100:.0f} %"


def _number(label: str, metric: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"label": f"{label} ({metric})", "form": "plain", "value": row["value"],
            "low": row["low"], "high": row["high"], "n": row["n"]}  # fmt: skip


def _with_interval(row: dict[str, Any], form: str = ".3f") -> str:
    return f"{row['value']:{form}} (95 % interval {row['low']:{form}} to {row['high']:{form}})"


def _compared(judged: Judged, metric: str, row: dict[str, Any], gap: dict[str, Any]) -> str:
    baseline = judged.row(gap["baseline"], metric) or {}
    keys, _ = judged.values([judged.model], metric)
    n_perturbations = len({judged.perturbation_of.get(k, k) for k in keys})
    words = f" ({METRICS[metric].summary})" if metric in METRICS else ""
    return (
        f"On {row['n']:,} held-out conditions of {n_perturbations:,} perturbations its "
        f"{metric}{words} is {_with_interval(row)}; {gap['baseline']} has "
        f"{_with_interval(baseline)}. {_paired(gap)}; {row['better']} is better."
    )


def _paired(gap: dict[str, Any]) -> str:
    if max(abs(gap[k]) for k in ("value", "low", "high")) < SAME:
        return f"On each of {gap['n']:,} conditions both say nearly the same"
    word, sign = ("better", 1) if gap["value"] >= 0 else ("worse", -1)
    low, high = sorted((sign * gap["low"], sign * gap["high"]))
    return (
        f"Condition by condition the model is {word} by {abs(gap['value']):.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}, n = {gap['n']:,})"
    )


def _ceiling_sentence(
    judged: Judged, metric: str, better: str, share: dict[str, Any] | None
) -> str:
    if share is None:
        if judged.row(CEILING, metric) is None:
            return "There is no ceiling: the data hold no replicates that could predict each other."
        return "The ceiling is too close to 0 to express the score as a share of it."
    part = (
        f"{percent(share['value'])} (95 % interval {percent(share['low'])} to "
        f"{percent(share['high'])}, "
        f"n = {share['n']:,})"
    )
    above = (
        " Above 100 % the model is closer to this measurement than a noisy repeat would be."
        if share["value"] > 1 else ""
    )  # fmt: skip
    if better == "higher":
        return (
            f"A repeat of the experiment would itself score {share['ceiling']:.3f} (the ceiling, "
            f"from split halves); the model reaches {part} of that.{above}"
        )
    return (
        f"A repeat of the experiment would itself be off by {share['ceiling']:.3f} (the ceiling, "
        f"from split halves); that is {part} of the model's error.{above}"
    )


def _elsewhere(judged: Judged, scored: list[str]) -> str:
    tones = [d["tone"] for m in scored if (d := difference(judged, m))]
    counts = {t: tones.count(t) for t in ("good", "even", "bad")}
    return (
        f"Against the best baseline of each of the {len(tones)} metrics it wins {counts['good']}, "
        f"is even on {counts['even']} and loses {counts['bad']}."
    )
