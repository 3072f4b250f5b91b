"""What the command line prints of scores and predictions, as rows of plain values."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perturbkit.core.condition import condition_table, conditions_of
from perturbkit.core.errors import unknown_name
from perturbkit.core.responses import Responses
from perturbkit.core.run import Run
from perturbkit.metrics import METRICS
from perturbkit.metrics.score import CEILINGS, Scores
from perturbkit.models import MODELS
from perturbkit.recipes.fitted import names_of


def score_rows(scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each model: every metric with its interval, conditions scored, a note."""
    table = scores.table
    rows = []
    for model in scores.models:
        mine = table.filter(pl.col("model") == model)
        cells = {
            f"{r['metric']} ({'up' if r['better'] == 'higher' else 'down'})": _interval(r)
            for r in mine.iter_rows(named=True)
        }
        notes = {r["reason"] for r in mine.iter_rows(named=True) if r["reason"]}
        rows.append({"model": model, **cells, "n": max(mine["n"]), "note": "; ".join(notes)})
    return rows


def _interval(row: dict[str, Any]) -> str:
    if math.isnan(row["value"]):
        return "-"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def best_baseline(scores: Scores, model: str, metric: str) -> str | None:
    """Return the baseline with the best value of a metric, or None where none has one."""
    table = scores.table.filter(
        (pl.col("metric") == metric)
        & pl.col("value").is_not_nan()
        & ~pl.col("model").is_in([model, *CEILINGS])
    )
    names = [m for m in table["model"] if m in MODELS and MODELS[m].baseline]
    table = table.filter(pl.col("model").is_in(names))
    if not table.height:
        return None
    return table.sort("value", descending=METRICS[metric].better == "higher")["model"][0]


def verdict(scores: Scores, model: str) -> str:
    """Say in one sentence whether the model beats the best baseline on the first metric."""
    metric = scores.cards[0].name
    mine = scores.table.filter((pl.col("model") == model) & (pl.col("metric") == metric))
    if not mine.height or math.isnan(mine["value"][0]):
        return f"{model} has no {metric}: {mine['reason'][0] if mine.height else 'not scored'}"
    best = best_baseline(scores, model, metric)
    if best is None:
        return (
            f"{model}: {metric} {_interval(mine.row(0, named=True))}; no baseline to compare with"
        )
    paired = scores.compare(model, best).filter(pl.col("metric") == metric).row(0, named=True)
    sign = 1 if paired["better"] == "higher" else -1
    low, high = sorted((sign * paired["low"], sign * paired["high"]))
    word = "beats" if low > 0 else "loses to" if high < 0 else "does not differ clearly from"
    return (
        f"{model} {word} the best baseline, {best}, on {metric}: difference "
        f"{paired['difference']:+.3f} [{paired['low']:+.3f}, {paired['high']:+.3f}] over "
        f"{paired['n']} held-out conditions (95 % paired bootstrap)"
    )


def gaps(scores: Scores) -> list[str]:
    """Return what could not be scored, in words, for the models that should have answered."""
    table = scores.table.filter(pl.col("value").is_nan())
    return [f"{r['model']}, {r['metric']}: {r['reason']}" for r in table.iter_rows(named=True)]


def prediction_rows(
    predicted: Responses, controls_cg: np.ndarray, top: int
) -> list[dict[str, Any]]:
    """Return a row for each condition: status and the readouts that change most.

    Args:
        predicted: the predictions.
        controls_cg: predicted control of each condition's context, [c, g].
        top: how many readouts to name.
    """
    names = np.array(predicted.readouts.names, dtype=object)
    rows = []
    for i, row in enumerate(predicted.conditions.iter_rows(named=True)):
        condition = conditions_of(predicted.conditions[i])[0]
        delta = predicted.mean_cg[i] - controls_cg[i]
        known = np.flatnonzero(~np.isnan(delta))
        order = known[np.argsort(-np.abs(delta[known]))[:top]]
        ends = _ends(predicted, i)
        stated = "" if ends is None else ", 80 % interval"
        rows.append(
            {
                "condition": condition.notation,
                "context": row["context"],
                "status": row["status"],
                f"largest changes ({predicted.unit}{stated})": ", ".join(
                    f"{names[g]} {delta[g]:+.2f}{_within(delta[g], ends, g)}" for g in order
                ),
            }
        )
    return rows


def _ends(predicted: Responses, i: int) -> np.ndarray | None:
    return None if predicted.spread is None else predicted.spread.half_width(0.8)[i]


def _within(delta: float, half_g: np.ndarray | None, g: int) -> str:
    if half_g is None or math.isnan(half_g[g]):
        return ""
    return f" [{delta - half_g[g]:+.2f}, {delta + half_g[g]:+.2f}]"


def calibration_rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Return stated and observed coverage in percent, level by level, and their mean gap."""
    return [
        {
            "interval": f"{row['level']:.0%}",
            "held-out values inside": f"{row['coverage']:.1%}",
            "expected calibration error": f"{row['expected_calibration_error']:.3f}",
        }
        for row in table.iter_rows(named=True)
    ]


def controls_for(predicted: Responses) -> pl.DataFrame:
    """Return the table of each condition's control, row by row."""
    return condition_table(c.control() for c in conditions_of(predicted.conditions))


def refusals(run: str | Path | Run, predicted: Responses) -> list[str]:
    """Say of each name of a refused condition that the screen does not have what may be meant."""
    targets, contexts = names_of(run if isinstance(run, Run) else Run.open(run))
    asked = conditions_of(predicted.conditions)
    refused = (predicted.conditions["status"] == "refused").to_list()
    return [
        *_unknown("perturbation", [set(c.targets) for c in asked], refused, targets),
        *_unknown("context", [{c.context} for c in asked], refused, contexts),
    ]


def _unknown(kind: str, names: list[set[str]], refused: list[bool], known: list[str]) -> list[str]:
    """Say what may be meant by names that are not known and never answered."""
    answered = set(known).union(*(n for n, no in zip(names, refused, strict=True) if not no))
    return [str(unknown_name(kind, n, known)) for n in sorted(set().union(*names) - answered)]
