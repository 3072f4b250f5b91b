"""Benchmarks as data: tasks in TOML, every model on the same folds, one leaderboard."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit import __version__
from perturbkit.core.config import Config, read_toml
from perturbkit.core.errors import ConfigError, PerturbkitError, unknown_name
from perturbkit.core.files import atomic_path, read_json, write_json, write_text
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.data.splits import SplitConfig, make_split
from perturbkit.metrics.pooling import joined
from perturbkit.metrics.score import CEILINGS, Scores, score
from perturbkit.models import MODELS
from perturbkit.models.applies import why_not, why_not_cells
from perturbkit.models.card import ModelCard
from perturbkit.recipes.experiment import ScreenConfig
from perturbkit.recipes.opening import open_source
from perturbkit.recipes.side_information import fit_data
from perturbkit.recipes.strata import with_subgroups
from perturbkit.report.leaderboard import leaderboard_html, leaderboard_markdown
from perturbkit.train.config import TrainConfig
from perturbkit.train.profiles import FitData, MemberPlan, fit_member

Watch = Callable[[str, int, int], None]
"""called with (what, done, total)"""
MAIN = ("pearson_delta", "pearson_centroid", "rmse", "discrimination_cosine", "top_50_overlap",
        "weighted_r2_delta")  # fmt: skip
"""What tasks are judged by unless they say otherwise; the first decides the order."""


STRATA = ("effect", "subgroup", "context")
"""What scores are split by."""
MEAN_RESPONSES = ("context_mean", "mean_delta", "no_change")
"""What stands in for a refusal when models are ranked: the first of these that has a score."""


class TaskConfig(Config):
    """One task of a benchmark: a screen, a way to hold out, what is fitted and how it is judged."""

    name: str
    """its name in the leaderboard"""
    summary: str
    """one line: what has to be predicted from what"""
    seed: int = 0
    """of everything that is drawn"""
    screen: ScreenConfig
    """the data"""
    split: SplitConfig
    """what is held out; with `folds`, each fold in turn"""
    models: tuple[str, ...] = ()
    """names of models; empty: every model of the catalogue that applies"""
    metrics: tuple[str, ...] = MAIN
    """names of metrics"""
    n_bootstrap: int = 1000
    """draws of the bootstrap over perturbations"""
    cell_epochs: Annotated[int, Field(ge=1)] | None = None
    """passes over the cells that a network of single cells makes at most; by default its own"""


def shipped() -> dict[str, Path]:
    """Return the tasks that come with the package, by name."""
    folder = Path(str(resources.files("perturbkit.recipes"))) / "tasks"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_task(name_or_path: str | Path) -> TaskConfig:
    """Read a task by the name of a shipped one, or from a TOML file.

    Raises:
        UnknownNameError: no such task.
        ConfigError: unknown or wrong settings, unknown models.
    """
    name, tasks = str(name_or_path), shipped()
    if name not in tasks and not name.endswith(".toml"):
        raise unknown_name("task", name, tasks)
    path = tasks.get(name, Path(name))
    task = TaskConfig.parse(read_toml(path), path.name)
    for model in task.models:
        if model not in MODELS:
            raise ConfigError(f"{path.name}: models: {unknown_name('model', model, MODELS)}")
    return task


@dataclass(frozen=True, eq=False)
class TaskResult:
    """What a task gave."""

    task: TaskConfig
    scores: Scores
    seconds: dict[str, tuple[float, float]]
    """of each model, to fit and to predict, summed over folds"""
    declined: dict[str, str]
    """models with nothing to say here, and why"""


def benchmark(
    tasks: Sequence[str | Path], out: str | Path, *, watch: Watch | None = None
) -> pl.DataFrame:
    """Fit, predict and score every model of every task, and write the leaderboard.

    What was predicted before with equal settings is read, so a benchmark that stopped goes on.

    Args:
        tasks: names of shipped tasks, or TOML files.
        out: folder for the leaderboard (.parquet, .md, .html) and the predictions.
        watch: told of the progress.

    Returns:
        The leaderboard.

    Raises:
        PerturbkitError: unknown tasks or models, unreadable data; before anything is fitted.
    """
    read = [read_task(t) for t in tasks]
    folder = Path(out)
    results: list[TaskResult] = []
    table = pl.DataFrame()
    for task in read:
        result = run_task(task, folder / task.name, watch)
        results.append(result)
        table = pl.concat([rows_of(r) for r in results], how="diagonal_relaxed")
        strata = pl.concat([strata_of(r) for r in results])
        write_leaderboard(table, strata, [r.task for r in results], folder)
    return table


def run_task(task: TaskConfig, folder: Path, watch: Watch | None = None) -> TaskResult:
    """Run one task, reading what an earlier run of equal settings predicted."""
    opened = open_source(task.screen, task.seed)
    truth = opened.truth(named_rng(task.seed, "halves"))
    names = task.models or tuple(MODELS)
    cells = opened.cells() if opened.has_cells and _any_of_cells(names) else None
    n_folds = task.split.folds or 1
    parts: list[Scores] = []
    seconds: dict[str, tuple[float, float]] = {}
    declined: dict[str, str] = {}
    for fold in range(n_folds):
        config = task.split.replace(fold=fold) if task.split.folds else task.split
        split = make_split(truth.conditions, config, named_rng(task.seed, "split"))
        data = fit_data(truth, split, "auto", named_rng(task.seed, "features"), cells)
        test = truth.select(split.rows(truth, "test"))
        predictions = {}
        for i, name in enumerate(names):
            if watch is not None:
                watch(f"{task.name}, fold {fold + 1} of {n_folds}: {name}", i, len(names))
            why = why_not(MODELS[name], data.train, test.conditions, data.features)
            why = why or why_not_cells(MODELS[name], cells.unit if cells else None)
            if why:
                declined[name] = why
                continue
            place = folder / f"fold_{fold}" / f"{name}-{fingerprint(task, name, fold)}"
            predictions[name], spent = predicted(task, MODELS[name], data, test, place)
            before = seconds.get(name, (0.0, 0.0))
            seconds[name] = (before[0] + spent[0], before[1] + spent[1])
        kept = np.flatnonzero(np.isin(truth.keys, test.keys) | truth.is_control)
        found = score(
            truth.select(kept), predictions, train=data.train, metrics=list(task.metrics),
            rng=named_rng(task.seed, "bootstrap", fold), n_bootstrap=task.n_bootstrap,
        )  # fmt: skip
        parts.append(with_subgroups(found, split))
    rng = named_rng(task.seed, "bootstrap")
    scores = joined(parts, rng, task.n_bootstrap) if len(parts) > 1 else parts[0]
    return TaskResult(task, scores, seconds, declined)


def _any_of_cells(names: Sequence[str]) -> bool:
    return any(MODELS[name].level == "cells" for name in names)


def training(card: ModelCard, task: TaskConfig) -> TrainConfig:
    """Return the settings of the training loop that suit a model, within the task's limit."""
    config = TrainConfig.parse(dict(card.train))
    if card.level == "cells" and task.cell_epochs is not None:
        return config.replace(n_epochs=min(config.n_epochs, task.cell_epochs))
    return config


def about(task: TaskConfig) -> str:
    """Return what the page says of a task."""
    if task.cell_epochs is None:
        return task.summary
    return f"{task.summary} Networks of single cells: at most {task.cell_epochs} epochs."


def fingerprint(task: TaskConfig, model: str, fold: int) -> str:
    """Return what identifies a prediction: data, split, fold, seed, model and its settings."""
    card = MODELS[model]
    settings = [card.config().plain(), training(card, task).plain()]
    what = [task.screen.plain(), task.split.plain(), task.seed, fold, model, *settings,
            __version__]  # fmt: skip
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def predicted(
    task: TaskConfig, card: ModelCard, data: FitData, test: Responses, place: Path
) -> tuple[Responses, tuple[float, float]]:
    """Predict the test conditions, or read what was predicted; with the seconds it took."""
    file, record = place.with_suffix(".parquet"), place.with_suffix(".json")
    if file.exists() and record.exists():
        spent = read_json(record)
        return Responses.load(file), (spent["fit_s"], spent["predict_s"])
    place.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    try:
        plan = MemberPlan(card, card.config(), training(card, task), task.seed, 0)
        model = fit_member(plan, data, None, None)
        fitted = time.perf_counter()
        answer = model.predict(test.conditions)
    except PerturbkitError as error:
        error.add_note(f"while fitting {card.name} on {task.name}")
        raise
    spent = {"fit_s": fitted - started, "predict_s": time.perf_counter() - fitted}
    answer.save(file)
    write_json(record, spent)
    return answer, (spent["fit_s"], spent["predict_s"])


def rows_of(result: TaskResult) -> pl.DataFrame:
    """Return the leaderboard rows of a task: scores, rank, difference to the best baseline.

    Ranks go by `filled`: the mean with each refused condition scored as the mean response is, so
    that answering only what is easy raises nobody.
    """
    scores, rows = result.scores, []
    table = scores.table
    for card in scores.cards:
        mine = table.filter(metric=card.name)
        filled = {m: _filled(scores, m, card.name) for m in mine["model"]}
        sign = -1 if card.better == "higher" else 1
        order = [m for m in mine["model"] if m not in CEILINGS and not np.isnan(filled[m])]
        order.sort(key=lambda m, filled=filled, sign=sign: sign * filled[m])
        ranks = {m: i + 1 for i, m in enumerate(order)}
        shares = _shares(scores, card.name)
        best = next((m for m in order if m in MODELS and MODELS[m].baseline), None)
        for row in mine.iter_rows(named=True):
            gap = _gap(scores, row["model"], best, card.name)
            spent = result.seconds.get(row["model"], (None, None))
            rows.append({
                "task": result.task.name, **row, "filled": filled[row["model"]],
                "rank": ranks.get(row["model"]), "share": shares.get(row["model"]),
                "baseline": row["model"] in MODELS and MODELS[row["model"]].baseline,
                "best_baseline": best, **gap, "fit_s": spent[0], "predict_s": spent[1],
            })  # fmt: skip
        rows += [
            {"task": result.task.name, "model": model, "metric": card.name,
             "value": float("nan"), "n": 0, "reason": f"does not apply: {why}"}
            for model, why in result.declined.items() if model not in scores.models
        ]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def strata_of(result: TaskResult) -> pl.DataFrame:
    """Return the scores of a task by effect size, GEARS' subgroup and context.

    Columns: task, by, stratum, then those of `Scores.table`.
    """
    parts = []
    for column in STRATA:
        table = result.scores.by(column).rename({column: "stratum"})
        about = [pl.lit(result.task.name).alias("task"), pl.lit(column).alias("by")]
        parts.append(table.select(*about, pl.all()))
    return pl.concat(parts)


def _shares(scores: Scores, metric: str) -> dict[str, float]:
    """Share of the way from the mean response to the better ceiling, where there is one."""
    mean = next((m for m in MEAN_RESPONSES if m in scores.models), None)
    if mean is None or not set(CEILINGS) <= set(scores.models):
        return {}
    table = scores.calibrated(mean).filter(metric=metric)
    return dict(table.select("model", "fraction").rows())


def _filled(scores: Scores, model: str, metric: str) -> float:
    """Mean over all conditions, those the model has no score for scored as the mean response."""
    values = scores.values[model, metric]
    if np.isnan(values).all():
        return float("nan")
    for fallback in MEAN_RESPONSES:
        other = scores.values.get((fallback, metric))
        if other is not None:
            values = np.where(np.isnan(values), other, values)
    return float(np.nanmean(values))


def _gap(scores: Scores, model: str, best: str | None, metric: str) -> dict[str, Any]:
    """Paired difference to the best baseline."""
    if best is None or model in (best, *CEILINGS):
        return {"gap": None, "gap_low": None, "gap_high": None}
    row = scores.compare(model, best).filter(metric=metric).row(0, named=True)
    return {"gap": row["difference"], "gap_low": row["low"], "gap_high": row["high"]}


def write_leaderboard(
    table: pl.DataFrame, strata: pl.DataFrame, tasks: Sequence[TaskConfig], folder: Path
) -> None:
    """Write the leaderboard as Parquet, Markdown and one HTML page, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, name in ((table, "leaderboard.parquet"), (strata, "strata.parquet")):
        with atomic_path(folder / name) as temporary:
            frame.write_parquet(temporary)
    words = {t.name: about(t) for t in tasks}
    write_text(folder / "leaderboard.md", leaderboard_markdown(table, words, strata))
    write_text(folder / "leaderboard.html", leaderboard_html(table, words, strata))
