"""What a run has to say, as one dictionary of plain values; pictures and pages come from it."""

import math
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from perturbkit.core.errors import FileError
from perturbkit.core.files import read_json, sha256
from perturbkit.core.responses import Responses
from perturbkit.core.run import Run
from perturbkit.metrics import METRICS
from perturbkit.metrics.score import CEILINGS
from perturbkit.report.held_out import against_baseline, notation_of, rankings, scatters
from perturbkit.report.verdict import Judged, none_yet, verdict

T = TypeVar("T")
UNIT_WORDS = {
    "counts": "counts", "log1p_cp10k": "log1p counts per 10 k", "log2fc": "log2 fold change",
    "zscore": "z-score", "signed_rank": "signed rank", "score": "score",
}  # fmt: skip


def summarise(run: Run) -> dict[str, Any]:
    """Return everything the report shows; missing pieces become sentences in `notes`.

    Args:
        run: a run, fitted and scored or not.

    Returns:
        Plain values that JSON can hold: `name`, `model`, `verdict`, `data`, `split`, `status`,
        `learning`, `scores`, `table`, `reasons`, `ranking`, `against`, `scatters`, `settings`,
        `footer`, `notes`.

    Raises:
        FileError: a file of the run is cut short or is not what its name says.
    """
    config, notes = run.config, []
    model = str(config.get("model", {}).get("kind", "model"))
    truth = _optional(run.path / "truth.parquet", Responses.load)
    predicted = _optional(run.path / "responses.parquet", Responses.load)
    judged = _judged(run, config, model, truth)
    if not run.is_finished:
        notes.append("The fit did not come to its end; go on with perturbkit fit --resume.")
    if predicted is None:
        notes.append("No predictions are stored, so none are drawn.")
    if truth is None:
        notes.append("The measured responses are not stored beside the run.")
    if judged is None:
        found = none_yet("the run has not been scored", "Score it with perturbkit score RUN")
    else:
        found = verdict(judged)
    unit = UNIT_WORDS.get(truth.unit, truth.unit) if truth is not None else ""
    scores = _scores(judged, found["metric"], unit)
    summary = {
        "name": run.path.resolve().name,
        "model": model,
        "unit": unit,
        "verdict": found,
        "data": _data(run, config),
        "split": _split(run, config),
        "status": _status(predicted),
        "learning": _learning(run),
        "scores": scores,
        "table": _table(scores),
        "reasons": _reasons(scores),
        **_details(judged, found, truth, predicted),
        "settings": _flat({k: v for k, v in config.items() if k != "format"}),
        "footer": _footer(run, config),
        "notes": notes,
    }
    return _plain(summary)


def _details(
    judged: Judged | None,
    found: dict[str, Any],
    truth: Responses | None,
    predicted: Responses | None,
) -> dict[str, Any]:
    """Return what is said of single conditions; without a scored metric there is nothing."""
    metric, baseline = found["metric"], found["baseline"]
    if judged is None or metric is None:
        return {"ranking": None, "against": None, "scatters": []}
    panels = []
    if truth is not None and predicted is not None:
        panels = scatters(judged, metric, truth, predicted)
    return {
        "ranking": rankings(judged, metric, baseline, truth),
        "against": against_baseline(judged, metric, baseline),
        "scatters": panels,
    }


def _optional(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.exists() else None


def read_parquet(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """Read a table of the run.

    Raises:
        FileError: it is not such a table.
    """
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        message = f"{path} is not a readable table ({error}); score the run again"
        raise FileError(message) from error
    missing = [c for c in columns if c not in table.columns]
    if missing:
        message = f"{path} lacks the columns {', '.join(missing)}; score the run again"
        raise FileError(message)
    return table


def _judged(run: Run, config: dict[str, Any], model: str, truth: Responses | None) -> Judged | None:
    scores, conditions = run.path / "scores.parquet", run.path / "conditions.parquet"
    if not (scores.exists() and conditions.exists()):
        return None
    columns = ("model", "metric", "value")
    table = read_parquet(scores, (*columns, "low", "high", "n", "better", "reason"))
    stems = sorted(p.stem for p in (run.path / "baselines").glob("*.parquet"))
    return Judged(
        table, read_parquet(conditions, (*columns, "key")), model, tuple(stems),
        notation_of(truth), int(config.get("seed", 0)),
    )  # fmt: skip


def _data(run: Run, config: dict[str, Any]) -> dict[str, Any] | None:
    about = _optional(run.path / "data.json", read_json)
    if about is None:
        return None
    return {"source": str(config.get("screen", {}).get("source", "")), **about}


def _split(run: Run, config: dict[str, Any]) -> dict[str, Any] | None:
    path = run.path / "split.parquet"
    if not path.exists():
        return None
    table = read_parquet(path, ("key", "fold"))
    counts = Counter(table["fold"].to_list())
    order = sorted(counts, key=lambda f: (["train", "val", "test"].index(f)
                                          if f in ("train", "val", "test") else 3, f))  # fmt: skip
    kind = str(config.get("split", {}).get("kind", ""))
    return {"kind": kind, "folds": [{"fold": f, "n": counts[f]} for f in order]}


def _status(predicted: Responses | None) -> list[dict[str, Any]]:
    if predicted is None:
        return []
    counts = Counter(predicted.conditions["status"].to_list())
    return [{"status": s, "n": n} for s, n in counts.most_common()]


def _learning(run: Run) -> dict[str, Any] | None:
    """Return the curve of each member; None for a model that was not trained step by step."""
    curves: dict[int, dict[str, list]] = {}
    for record in run.records():
        if "member" not in record or "step" not in record:
            continue
        curve = curves.setdefault(int(record["member"]), {"step": [], "train": [], "val": []})
        curve["step"].append(record["step"])
        curve["train"].append(record.get("train_loss"))
        curve["val"].append(record.get("val_loss"))
        curve["seconds"] = [*curve.get("seconds", [])[-1:], record.get("seconds") or 0.0]
    if not curves:
        return None
    members = []
    for member, curve in sorted(curves.items()):
        seen = [(v, s) for v, s in zip(curve["val"], curve["step"], strict=True) if v is not None]
        best = min(seen, default=(None, None))
        members.append({"member": member, "steps": curve["step"], "train": curve["train"],
                        "val": curve["val"], "best_val": best[0], "best_step": best[1],
                        "seconds": curve["seconds"][-1]})  # fmt: skip
    return {"members": members, "seconds": sum(m["seconds"] for m in members)}


def _scores(judged: Judged | None, deciding: str | None, readout: str) -> list[dict[str, Any]]:
    """Return each metric with the rows of all models, the best first and the ceiling on top."""
    if judged is None:
        return []
    metrics = []
    for name in judged.metrics:
        rows = judged.scores.filter(pl.col("metric") == name).to_dicts()
        sign = -1 if rows[0]["better"] == "higher" else 1
        for row in rows:
            row["value"] = _known(row["value"])
            row["role"] = (
                "model" if row["model"] == judged.model
                else "ceiling" if row["model"] in CEILINGS
                else "baseline" if row["model"] in judged.baselines else "other"
            )  # fmt: skip
        rows.sort(key=lambda r: (r["role"] != "ceiling", r["value"] is None,
                                 sign * (r["value"] or 0.0)))  # fmt: skip
        card = METRICS.get(name)
        unit = card.unit if card else ""
        metrics.append(
            {"name": name, "better": rows[0]["better"], "summary": card.summary if card else "",
             "unit": readout or unit if unit == "readout" else unit, "deciding": name == deciding,
             "best": card.best if card else None, "rows": rows}
        )  # fmt: skip
    return metrics


def _table(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line for each model with its cell of every metric; the order of the first metric."""
    lines: dict[str, dict[str, Any]] = {}
    for i, metric in enumerate(scores):
        for row in metric["rows"]:
            line = {"model": row["model"], "role": row["role"], "cells": [None] * len(scores)}
            lines.setdefault(row["model"], line)["cells"][i] = row
    return list(lines.values())


def _reasons(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return why conditions have no score, once for each model and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for metric in scores:
        for row in metric["rows"]:
            if row["reason"]:
                found.setdefault((row["model"], row["reason"]), []).append(metric["name"])
    return [
        {"model": m, "reason": r, "metrics": names if len(names) < len(scores) else []}
        for (m, r), names in found.items()
    ]


def _footer(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    environment = _optional(run.path / "env.json", read_json) or {}
    command = environment.get("command")
    versions = [f"{k} {v}" for k, v in environment.items() if k not in ("command", "n_cpus")]
    return {"fingerprint": sha256(run.config_path),
            "command": shlex.join(map(str, command)) if command else "",
            "versions": versions, "n_cpus": environment.get("n_cpus"),
            "seed": config.get("seed")}  # fmt: skip


def _flat(values: dict[str, Any], path: str = "") -> list[dict[str, str]]:
    """Return settings as a list of path and value, tables opened."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{path}{key}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append({"path": f"{path}{key}", "value": text})
    return rows


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _plain(value: Any) -> Any:
    """Return the value with NaN and infinity as None, which JSON can hold."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return _known(value) if isinstance(value, float) else value
