"""Anyone's predictions, scored: h5ad, .prep.vcc, CSV or Parquet; cells or means."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.errors import UnitError
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import responses_of
from perturbkit.metrics.align import mean_over_conditions
from perturbkit.metrics.cells.pair import Rules
from perturbkit.metrics.cells.run import profile_cards, score_cells
from perturbkit.metrics.score import CEILING, score
from perturbkit.metrics.sides import ForeignOptions, in_one_context, read_side
from perturbkit.metrics.vcc import (
    replicate_score,
    scaled_score,
)


@dataclass(frozen=True, eq=False)
class ForeignScores:
    """What `score_foreign` found."""

    table: pl.DataFrame
    """a row per metric: value, low, high, n, baseline, ceiling, better, best, reason"""
    notes: list[str]
    """what could not be compared, and how the files were read"""

    @property
    def complete(self) -> bool:
        """Whether every metric has a value; the command fails where not."""
        return bool(self.table["value"].is_not_nan().all())


def score_foreign(
    predicted: str | Path,
    truth: str | Path,
    options: ForeignOptions,
    *,
    rng: np.random.Generator,
    n_bootstrap: int = 1000,
) -> ForeignScores:
    """Score a file of predictions against measurements, a file or a screen by its name.

    Two files of cells get the metrics of cells; otherwise both become means by condition.

    Raises:
        FileError: a file is missing, damaged or of another format.
        SchemaError: columns are missing, or nothing is in common.
        UnitError: mixed units or scales.
    """
    measured = read_side(truth, options, "truth")
    controls = measured if options.compat == "perturbkit" else None
    offered = read_side(predicted, options, "predictions", controls=controls)
    measured, offered = in_one_context(measured, offered)
    if isinstance(measured, Screen) and isinstance(offered, Screen):
        rules: Rules = options.compat
        found = score_cells(
            measured, offered, metrics=profile_cards(options.profile), rules=rules, rng=rng,
            n_bootstrap=n_bootstrap,
        )  # fmt: skip
        table = found.table
        if options.profile == "vcc":
            table = pl.concat([table, _challenge_row(table, clip=rules == "cell-eval")])
        if options.profile == "vcc2026":
            table = pl.concat([table, _replicate_row(table)])
        return ForeignScores(table, found.notes)
    if options.profile == "vcc2026":
        message = "the profile vcc2026 needs counts of cells on both sides, and one holds means"
        raise UnitError(message)
    if options.compat == "cell-eval":
        message = (
            "cell-eval's rules need cells on both sides, and one side holds means; drop --compat, "
            "or give cells"
        )
        raise UnitError(message)
    sides = [responses_of(s) if isinstance(s, Screen) else s for s in (measured, offered)]
    return _score_means(sides[0], sides[1], rng, n_bootstrap)


def _challenge_row(table: pl.DataFrame, *, clip: bool) -> pl.DataFrame:
    """The challenge's score of 0 to 100, scaled by the baseline of these data."""
    columns = [dict(table.select("metric", c).rows()) for c in ("value", "baseline", "ceiling")]
    value, ceiling = (scaled_score(c, columns[1], clip=clip)["score"] for c in columns[::2])
    nan = float("nan")
    row = {"metric": "vcc_score", "value": value, "low": nan, "high": nan,
           "n": int(table["n"].min()), "baseline": 0.0, "ceiling": ceiling,  # pyright: ignore
           "better": "higher", "best": 100.0, "reason": ""}  # fmt: skip
    return pl.DataFrame([row], schema=table.schema)


def _replicate_row(table: pl.DataFrame) -> pl.DataFrame:
    """The score of 2026: 0 is the mean response, 100 one half of the cells predicting the other."""
    columns = [dict(table.select("metric", c).rows()) for c in ("value", "baseline", "ceiling")]
    value = replicate_score(columns[0], columns[1], columns[2])["score"]
    nan = float("nan")
    reason = "" if np.isfinite(value) else "a metric has no value, or replicate equals baseline"
    row = {"metric": "vcc2026_score", "value": value, "low": nan, "high": nan,
           "n": int(table["n"].min()), "baseline": 0.0, "ceiling": 100.0,  # pyright: ignore
           "better": "higher", "best": nan, "reason": reason}  # fmt: skip
    return pl.DataFrame([row], schema=table.schema)


def _score_means(
    truth: Responses, predicted: Responses, rng: np.random.Generator, n_bootstrap: int
) -> ForeignScores:
    """Score means by condition, beside the mean of the measured perturbations and the ceiling."""
    baseline = "mean of the measured perturbations"
    perturbed = truth.select(~truth.is_control)
    means = np.empty_like(perturbed.mean_cg)
    for context in np.unique(perturbed.contexts):
        rows = perturbed.contexts == context
        means[rows] = mean_over_conditions(perturbed.mean_cg[rows])
    mean = replace(perturbed, values=np.nan_to_num(means)[None], halves=None)
    scores = score(
        truth, {"predictions": predicted, baseline: mean}, train=truth, rng=rng,
        n_bootstrap=n_bootstrap,
    )  # fmt: skip
    table = scores.table.filter(model="predictions").drop("model")
    for name, model in (("baseline", baseline), ("ceiling", CEILING)):
        other = scores.table.filter(model=model).select("metric", pl.col("value").alias(name))
        table = table.join(other, on="metric", how="left", maintain_order="left")
    table = table.with_columns(pl.col("baseline", "ceiling").fill_null(float("nan")))
    order = ["metric", "value", "low", "high", "n", "baseline", "ceiling", "better", "best",
             "reason"]  # fmt: skip
    return ForeignScores(table.select(order), scores.notes)
