"""The verbs: load, fit, predict, score, report. The Python API and the command line call these."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perturbkit.core.condition import (
    Condition,
    condition_keys,
    condition_table,
    conditions_of,
)
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import atomic_path, write_json
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.core.screen import Screen
from perturbkit.core.units import RELATIVE_UNITS
from perturbkit.data.screens import open_screen
from perturbkit.data.splits import Split, make_split
from perturbkit.metrics.score import Scores
from perturbkit.metrics.score import score as score_responses
from perturbkit.models import MODELS
from perturbkit.models.baselines_for import baselines_for
from perturbkit.recipes.experiment import Experiment, ScreenConfig
from perturbkit.recipes.fitted import Fitted, contexts_of
from perturbkit.recipes.opening import open_source
from perturbkit.recipes.side_information import fit_data
from perturbkit.recipes.strata import with_subgroups
from perturbkit.recipes.studies import resolve
from perturbkit.recipes.summaries import controls_for
from perturbkit.recipes.tables import read_table, write_responses, write_table
from perturbkit.report.html import write_report
from perturbkit.train.profiles import FitData, MemberPlan, fit_members
from perturbkit.train.store import (
    save_members,
    save_uncertainty,
)
from perturbkit.train.uncertainty import Uncertainty, fit_uncertainty

Watch = Callable[[str, int, int], None]
"""called with (what, done, total)"""

USUAL_METRICS = (
    "pearson_delta", "pearson_centroid", "rmse", "discrimination_cosine", "top_50_overlap",
)  # fmt: skip
"""What is scored when nothing is asked for; the first decides the verdict."""


def load(screen: str | Path, *, unit: str | None = None, seed: int = 0, **options: Any) -> Screen:
    """Open a screen by name or from a file; see `data.screens.open_screen`."""
    return open_screen(screen, unit=unit, seed=seed, **options)


def fit(
    recipe: str | Path | dict[str, Any] | Experiment,
    *,
    screen: str | Path | None = None,
    out: str | Path,
    settings: Iterable[str] = (),
    resume: bool = False,
    force: bool = False,
    watch: Watch | None = None,
) -> Run:
    """Fit a model and every baseline on the same split; judge nothing yet.

    Args:
        recipe: a recipe's or a model's name, a TOML file, plain settings, or an Experiment.
        screen: a screen's name or file; by default the recipe's.
        out: the run's folder.
        settings: `path.to.key=value` assignments over the recipe.
        resume: go on where a run with equal settings stopped.
        force: replace an old run.
        watch: told of the progress.

    Returns:
        The finished run.

    Raises:
        PerturbkitError: unknown names, wrong settings, unreadable files, a folder in use; nothing
            is left behind unless training had begun.
    """
    experiment = resolve(recipe, screen, tuple(settings))
    seed = experiment.seed
    opened = open_source(experiment.screen, seed)
    truth = opened.truth(named_rng(seed, "halves"))
    experiment = _with_split_kind(experiment, truth)
    split = make_split(truth.conditions, experiment.split, named_rng(seed, "split"))
    cells = opened.cells() if experiment.card.level == "cells" else None
    data = fit_data(truth, split, experiment.features, named_rng(seed, "features"), cells)
    run = Run.create(out, experiment.plain(), resume=resume, force=force)
    with run.lock():
        if run.is_finished:
            return run
        write_json(run.path / "data.json", opened.describe())
        truth.save(run.path / "truth.parquet")
        split.save(run.path / "split.parquet")
        _fit_all(run, experiment, data, truth.select(split.rows(truth, "test")), watch)
    return run


def _with_split_kind(experiment: Experiment, truth: Responses) -> Experiment:
    """Replace the split `auto` by the kind that suits the screen, so that it is on record."""
    if experiment.split.kind != "auto":
        return experiment
    perturbed = truth.conditions.filter(pl.Series(~truth.is_control))
    n_contexts = perturbed.group_by("perturbation").agg(pl.col("context").n_unique())
    several = bool((n_contexts["context"] > 1).any())
    kind = "unseen_pair" if several else "unseen_perturbation"
    return experiment.replace(split=experiment.split.plain() | {"kind": kind})


def _fit_all(
    run: Run, experiment: Experiment, data: FitData, test: Responses, watch: Watch | None
) -> None:
    _fit_baselines(run, experiment, data, test, watch)
    plans = [
        MemberPlan(experiment.card, experiment.model_config_, experiment.train, experiment.seed, m)
        for m in range(experiment.n_members)
    ]

    def told(member: int, step: int, n_steps: int) -> None:
        if watch is not None:
            watch(f"{experiment.card.name}, member {member + 1} of {len(plans)}", step, n_steps)

    judged: list[tuple[Responses, Responses]] = []
    members = fit_members(plans, data, run, told, lambda *pair: judged.append(pair))
    uncertainty = _uncertainty(members, data, judged)
    if uncertainty is not None:
        save_uncertainty(run, uncertainty)
    predicted = Fitted(run, members, uncertainty).predict(test.conditions)
    predicted.save(run.path / "responses.parquet")
    save_members(run, experiment.card, experiment.model_config_, members)


def _uncertainty(
    members: list[Any], data: FitData, judged: list[tuple[Responses, Responses]]
) -> Uncertainty | None:
    """Learn how wrong the members' mean is from conditions that they were not fitted on.

    Args:
        members: fitted models.
        data: what they were fitted on.
        judged: where no conditions are for validation, those that the members kept from themselves
            at first, and what each then said of them.
    """
    if data.val is not None:
        judged = [(data.val, m.predict(data.val.conditions)) for m in members]
    if not judged:
        return None
    val = judged[0][0]
    said = Responses.stack([predicted for _, predicted in judged])
    return fit_uncertainty(data.train, val, said.at(val.keys))


def _fit_baselines(
    run: Run, experiment: Experiment, data: FitData, test: Responses, watch: Watch | None
) -> None:
    if experiment.score.baselines:
        cards = {name: MODELS[name] for name in experiment.score.baselines}
    else:
        cards = baselines_for(data.train, test.conditions, data.features)
    for i, (name, card) in enumerate(cards.items()):
        rng = named_rng(experiment.seed, "baseline", name)
        model = card.model.fit(card.config(), data.train, data.features, rng)
        model.predict(test.conditions).save(run.path / "baselines" / f"{name}.parquet")
        if watch is not None:
            watch("baselines", i + 1, len(cards))


def predict(
    run: str | Path | Run,
    conditions: Sequence[str] | pl.DataFrame = (),
    *,
    contexts: Sequence[str] | None = None,
    table: Path | None = None,
    out: Path | None = None,
    level: float | None = None,
    controls: str | Path | ScreenConfig | None = None,
) -> Responses:
    """Predict any conditions from a saved run alone.

    Args:
        run: the run or its folder.
        conditions: notations, or a table with the columns of CONDITION_SCHEMA.
        contexts: where to predict the notations; by default in every context of the run, or with
            `controls` in the contexts that these describe and the run has not seen.
        table: a CSV or Parquet file of further conditions.
        out: where to write the predictions: .csv and .tsv hold the mean, .parquet all members.
        level: write a row for each value, with the interval of this level as low and high.
        controls: a screen whose controls describe contexts that the run has not seen.

    Returns:
        Responses with a status for each condition; refused ones are NaN.

    Raises:
        SchemaError: nothing to predict, or a notation that cannot be read.
        FileError: no finished run, an unreadable table, or an unknown suffix of `out`.
    """
    if out is not None and Path(out).suffix not in (".csv", ".tsv", ".parquet"):
        message = f"cannot write {out}: predictions are written as .csv, .tsv or .parquet"
        raise FileError(message)
    fitted = Fitted.open(run)
    if controls is not None:
        fitted = fitted.with_controls(controls)
    asked = conditions_asked(fitted.run, conditions, contexts or fitted.new_contexts, table)
    predicted = fitted.predict(asked)
    if out is not None:
        write_responses(predicted, Path(out), level)
    return predicted


def predicted_controls(
    run: str | Path | Run,
    predicted: Responses,
    controls: str | Path | ScreenConfig | None = None,
) -> np.ndarray:
    """Return what the run says of each condition's control, [c, g]; zero in relative units."""
    if predicted.unit in RELATIVE_UNITS:
        return np.zeros_like(predicted.mean_cg)
    table = controls_for(predicted)
    distinct = table.unique(maintain_order=True)
    fitted = Fitted.open(run)
    said = (fitted if controls is None else fitted.with_controls(controls)).predict(distinct)
    return said.mean_cg[said.find(condition_keys(table))]


def conditions_asked(
    run: Run,
    conditions: Sequence[str] | pl.DataFrame,
    contexts: Sequence[str] | None,
    table: Path | None,
) -> pl.DataFrame:
    """Return the table of what a user asks a run to predict.

    Raises:
        SchemaError: nothing, or a notation that cannot be read.
    """
    parts = []
    if isinstance(conditions, pl.DataFrame):
        parts.append(condition_table(conditions_of(conditions)))
    else:
        places = contexts or contexts_of(run)
        parsed = [Condition.parse(n, context=x) for x in places for n in conditions]
        parts.append(condition_table(parsed))
    if table is not None:
        parts.append(condition_table(conditions_of(read_table(table))))
    asked = pl.concat(parts).unique(maintain_order=True)
    if not asked.height:
        message = "no condition to predict; name some, as JAK2 or A+B or drug@10uM, or a --table"
        raise SchemaError(message)
    return asked


def score(
    run: str | Path | Run, *, metrics: Sequence[str] | None = None, out: Path | None = None
) -> Scores:
    """Score a run on its held-out conditions, beside every baseline and the ceiling.

    Writes scores.parquet and conditions.parquet to the run.

    Args:
        run: the run or its folder.
        metrics: names of metrics; by default the run's, else the usual ones.
        out: also write the table here, as .csv or .parquet.

    Raises:
        FileError: no finished run.
        UnknownNameError: no such metric.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    opened.require_finished()
    experiment = Experiment.parse(opened.config)
    truth = Responses.load(opened.path / "truth.parquet")
    split = Split.load(opened.path / "split.parquet")
    kept = split.rows(truth, "test").tolist() + truth.is_control.nonzero()[0].tolist()
    scores = score_responses(
        truth.select(sorted(set(kept))),
        _predictions(opened),
        train=truth.select(split.rows(truth, "train")),
        metrics=list(metrics or experiment.score.metrics or USUAL_METRICS),
        rng=named_rng(experiment.seed, "bootstrap"),
        n_bootstrap=experiment.score.n_bootstrap,
    )
    scores = with_subgroups(scores, split)
    with atomic_path(opened.path / "scores.parquet") as temporary:
        scores.table.write_parquet(temporary)
    with atomic_path(opened.path / "conditions.parquet") as temporary:
        scores.conditions.write_parquet(temporary)
    if out is not None:
        write_table(scores.table, Path(out))
    return scores


def _predictions(run: Run) -> dict[str, Responses]:
    """Return the model's predictions first, then the baselines'."""
    model = str(run.config["model"]["kind"])
    predictions = {model: Responses.load(run.path / "responses.parquet")}
    for path in sorted((run.path / "baselines").glob("*.parquet")):
        if path.stem != model:
            predictions[path.stem] = Responses.load(path)
    return predictions


def report(run: str | Path | Run, *, out: Path | None = None) -> Path:
    """Write a run's report, scoring the run first where it has not been.

    Returns:
        The path of the HTML file.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    if not (opened.path / "scores.parquet").exists():
        score(opened)
    return write_report(opened, out)
