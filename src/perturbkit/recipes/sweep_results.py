"""What a sweep found: a table of runs, the best settings by validation, a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from perturbkit.core.files import atomic_path
from perturbkit.metrics import METRICS
from perturbkit.report.figures import FAINT, MODEL, draw, shorten

_KEYS = ["data", "screen", "model", "settings", "digest"]
"""what is one setting, in order of the tables"""


def results_table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return a row per run, sorted: what it is, seed, validation, metrics, error."""
    table = pl.DataFrame(rows, infer_schema_length=None)
    if "validation" not in table.columns:
        table = table.with_columns(validation=pl.lit(None, pl.Float64))
    if "error" not in table.columns:
        table = table.with_columns(error=pl.lit(None, pl.String))
    return table.unique(["data", "digest", "seed"], keep="last").sort(*_KEYS, "seed")


def best_by_validation(table: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Return, for each data set and model, the settings with the best mean validation score.

    Columns: data, screen, model, settings, digest, `n_seeds`, `validation`, and the mean and
    standard deviation of the test score of `metric`. Test scores take no part in the choice.
    """
    if metric not in table.columns:
        return pl.DataFrame()
    means = (
        table.filter(pl.col("validation").is_not_null())
        .group_by(_KEYS)
        .agg(
            pl.len().alias("n_seeds"), pl.col("validation").mean(),
            pl.col(metric).mean().alias(f"test_{metric}"),
            pl.col(metric).std().alias(f"test_{metric}_sd"),
        )
    )  # fmt: skip
    higher = METRICS[metric].better == "higher"
    ordered = means.sort("data", "validation", "digest", descending=[False, higher, False])
    return ordered.unique(["data", "model"], keep="first", maintain_order=True)


def bar_and_strip(table: pl.DataFrame, metric: str) -> str:
    """Draw the test score of the best settings of each model: a bar, and a point for each seed."""
    best = best_by_validation(table, metric)

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for i, row in enumerate(best.iter_rows(named=True)):
            seeds = table.filter(
                (pl.col("data") == row["data"]) & (pl.col("digest") == row["digest"])
            )[metric]
            values = seeds.drop_nulls().to_numpy()
            axes.bar(i, values.mean(), color=FAINT, width=0.6)
            spots = i + np.linspace(-0.15, 0.15, len(values)) * (len(values) > 1)
            axes.plot(spots, values, "o", color=MODEL, markersize=4)
        several = best["data"].n_unique() > 1
        names = [
            shorten(r["model"] + (f", {r['screen']}" if several else ""))
            for r in best.iter_rows(named=True)
        ]
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_ylabel(f"{metric} on held-out conditions")

    return draw(max(3.0, 1.2 + 0.7 * best.height), 3.2, plot)


def write_results(rows: list[dict[str, Any]], out: Path, metric: str) -> pl.DataFrame:
    """Write results.csv, best.csv and results.svg; return the best settings."""
    table = results_table(rows)
    best = best_by_validation(table, metric)
    for name, part in (("results.csv", table), ("best.csv", best)):
        with atomic_path(out / name) as temporary:
            part.write_csv(temporary)
    if best.height:
        with atomic_path(out / "results.svg") as temporary:
            temporary.write_text(bar_and_strip(table, metric), encoding="utf-8")
    return best
