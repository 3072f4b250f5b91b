"""What else is asked of a run: how it did on validation, and whether its intervals hold."""

from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.data.splits import Split
from perturbkit.metrics.score import score
from perturbkit.metrics.uncertainty import calibration
from perturbkit.recipes.fitted import Fitted


def calibration_of(run: str | Path | Run) -> pl.DataFrame | None:
    """Return stated and observed coverage on the held-out conditions; None without intervals.

    See `metrics.uncertainty.calibration`.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    predicted = Responses.load(opened.path / "responses.parquet")
    if predicted.spread is None:
        return None
    truth, _ = _fold(opened, "test")
    return calibration(truth, predicted)


def validation_score(run: str | Path | Run, metric: str) -> float | None:
    """Return the mean of a metric over the validation conditions; None where there are none.

    What settings are chosen by: the test conditions take no part.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    truth, train = _fold(opened, "val")
    asked = truth.select(~truth.is_control)
    if not asked.keys:
        return None
    scores = score(
        truth,
        {"model": Fitted.open(opened).predict(asked.conditions)},
        train=train,
        metrics=[metric],
        rng=named_rng(0, "bootstrap"),
        n_bootstrap=100,
    )
    value = scores.table.filter(model="model")["value"][0]
    return None if np.isnan(value) else float(value)


def _fold(run: Run, fold: str) -> tuple[Responses, Responses]:
    """Return the conditions of a fold with all controls, and those of training."""
    truth = Responses.load(run.path / "truth.parquet")
    split = Split.load(run.path / "split.parquet")
    kept = split.rows(truth, fold).tolist() + truth.is_control.nonzero()[0].tolist()
    return truth.select(sorted(set(kept))), truth.select(split.rows(truth, "train"))
