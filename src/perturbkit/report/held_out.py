"""Held-out conditions one by one: which perturbations are predicted best and worst, and how."""

from typing import Any

import numpy as np
import polars as pl

from perturbkit.core.condition import conditions_of
from perturbkit.core.responses import Responses
from perturbkit.metrics.score import CEILING
from perturbkit.report.verdict import Judged

N_RANKED = 10
N_POINTS = 400
"""Readouts drawn of one condition."""


def rankings(
    judged: Judged, metric: str, baseline: str | None, truth: Responses | None
) -> dict[str, Any]:
    """Return the best and the worst predicted perturbations, each over its held-out contexts."""
    keys, values = judged.values([judged.model], metric)
    if not keys:
        return {"metric": metric, "best": [], "worst": [], "n": 0, "ranged": False}
    others = {name: _by_key(judged, name, metric) for name in (baseline, CEILING) if name}
    about = _about(truth)
    rows = []
    names = [judged.perturbation_of.get(k, k) for k in keys]
    order = {name: [i for i, n in enumerate(names) if n == name] for name in dict.fromkeys(names)}
    for name, members in order.items():
        own = values[members, 0]
        mine = [keys[i] for i in members]
        row = {"perturbation": name, "value": float(own.mean()), "low": float(own.min()),
               "high": float(own.max()), "n": len(members)}  # fmt: skip
        row["contexts"] = [about[k]["context"] for k in mine if k in about]
        row["baseline"] = _mean([others[baseline].get(k) for k in mine]) if baseline else None
        row["ceiling"] = _mean([others[CEILING].get(k) for k in mine])
        row["cells"] = sum(about[k]["n_cells"] or 0 for k in mine if k in about) or None
        row["change"] = _mean([about[k]["change"] for k in mine if k in about])
        rows.append(row)
    sign = -1 if _better(judged, metric) == "higher" else 1
    rows.sort(key=lambda r: sign * r["value"])
    n = min(N_RANKED, (len(rows) + 1) // 2)
    return {"metric": metric, "n": len(rows), "best": rows[:n], "worst": rows[n:][-n:][::-1],
            "ranged": any(r["n"] > 1 for r in rows)}  # fmt: skip


def against_baseline(judged: Judged, metric: str, baseline: str | None) -> dict[str, Any] | None:
    """Return the score of every condition by the model and by the best baseline."""
    if baseline is None:
        return None
    keys, values = judged.values([judged.model, baseline], metric)
    if not keys:
        return None
    sign = 1 if _better(judged, metric) == "higher" else -1
    wins = float(np.mean(sign * (values[:, 0] - values[:, 1]) > 0))
    return {"metric": metric, "baseline": baseline, "keys": keys, "model": values[:, 0].tolist(),
            "other": values[:, 1].tolist(), "wins": wins, "n": len(keys)}  # fmt: skip


def scatters(
    judged: Judged, metric: str, truth: Responses, predicted: Responses
) -> list[dict[str, Any]]:
    """Return measured and predicted change of a few conditions: two best, two middle, two worst."""
    keys, values = judged.values([judged.model], metric)
    here = [i for i, k in enumerate(keys) if k in truth.keys and k in predicted.keys]
    if not here:
        return []
    sign = -1 if _better(judged, metric) == "higher" else 1
    order = sorted(here, key=lambda i: sign * values[i, 0])
    middle = len(order) // 2
    places = dict.fromkeys([0, 1, middle - 1, middle, len(order) - 2, len(order) - 1])
    words = ["best", "second best", "middle", "middle", "second worst", "worst"]
    chosen = [(order[p], w) for p, w in zip(places, words, strict=False) if 0 <= p < len(order)]
    predicted = predicted.with_readouts(truth.readouts)
    control = dict(zip(truth.contexts, truth.control_of(truth.contexts), strict=True))
    names = np.array(truth.readouts.names, dtype=object)
    panels = []
    for i, word in chosen:
        at, to = truth.find([keys[i]])[0], predicted.find([keys[i]])[0]
        origin = control[truth.contexts[at]]
        measured, guess = truth.mean_cg[at] - origin, predicted.mean_cg[to] - origin
        shown = _shown(measured, guess)
        panels.append(
            {"key": keys[i], "rank": word, "score": float(values[i, 0]), "metric": metric,
             "measured": measured[shown].tolist(), "predicted": guess[shown].tolist(),
             "names": names[shown].tolist(), "n": int(np.isfinite(measured + guess).sum()),
             "drawn": len(shown), "unit": truth.unit}
        )  # fmt: skip
    return panels


def _shown(measured: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Positions of at most N_POINTS readouts, largest change first: half largest, half any."""
    finite = np.flatnonzero(np.isfinite(measured + guess))
    size = np.abs(measured[finite]) + np.abs(guess[finite])
    finite = finite[np.argsort(-size, kind="stable")]
    if len(finite) <= N_POINTS:
        return finite
    half = N_POINTS // 2
    rest = finite[half:]
    return np.concatenate([finite[:half], rest[:: -(-len(rest) // half)]])


def _better(judged: Judged, metric: str) -> str:
    return (judged.row(judged.model, metric) or {"better": "higher"})["better"]


def _by_key(judged: Judged, model: str, metric: str) -> dict[str, float]:
    rows = judged.conditions.filter((pl.col("model") == model) & (pl.col("metric") == metric))
    rows = rows.filter(pl.col("value").is_not_null() & pl.col("value").is_not_nan())
    return dict(zip(rows["key"], rows["value"], strict=True))


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(known)) if known else None


def _about(truth: Responses | None) -> dict[str, dict[str, Any]]:
    """Return context, cells and size of the measured change of each condition."""
    if truth is None:
        return {}
    change = np.sqrt(np.nanmean(truth.delta_cg().astype(float) ** 2, axis=1))
    return {
        key: {"context": row["context"], "n_cells": row["n_cells"], "change": float(size)}
        for key, row, size in zip(
            truth.keys, truth.conditions.iter_rows(named=True), change, strict=True
        )
    }


def notation_of(truth: Responses | None) -> dict[str, str]:
    """Return the notation without the context of each key."""
    if truth is None:
        return {}
    return {c.key: c.notation for c in conditions_of(truth.conditions)}
