"""From the statistics of the groups to the files of a prepared screen."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import SchemaError
from perturbkit.core.files import atomic_path, write_json
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.de import LOG_UNIT, Tests, context_rows, de_parts, write_de
from perturbkit.data.prepare.cells import CellCounts
from perturbkit.data.prepare.settings import PrepareConfig
from perturbkit.data.prepare.sources import Plan, Sources
from perturbkit.data.profiles import in_parts, profile_rows, profile_values
from perturbkit.data.read.h5ad import FORMAT, STAMP
from perturbkit.data.stats import GroupStats, GroupView

PROFILES, BATCHES, TABLE, REPORT = "profiles.h5ad", "batches.h5ad", "de.parquet", "prepare.json"
LOWERS = ("crispri", "ko", "unknown")
"""Kinds of perturbation that lower their target."""


def finish(
    reduced: tuple[GroupStats, CellCounts], sources: Sources, config: PrepareConfig, size: Plan,
    folder: Path, tests: Tests | None = None,
) -> None:  # fmt: skip
    """Write profiles, batch profiles, differential expression and a report.

    Args:
        reduced: what `stream_cells` returned.
        sources: the files.
        config: what is kept.
        size: the plan.
        folder: where to write.
        tests: statistic and p-value of each condition and readout, in place of Welch's.

    Raises:
        SchemaError: a context keeps no control cells, or nothing is left.
    """
    stats, counts = reduced
    table = condition_table(sources.conditions)
    unit = LOG_UNIT if sources.unit == "counts" else sources.unit
    whole = GroupView(stats, sources.condition_k, table.height)
    _require_controls(whole, table)
    falls_c = knockdown(whole, table, sources.readouts, unit)
    kept_c = _kept_conditions(whole, table, falls_c, config)
    readouts, columns_g = sources.readouts, None
    if config.n_variable is not None:
        columns_g = np.flatnonzero(variable_readouts(stats, sources, config.n_variable))
        readouts = Vocabulary(np.array(readouts.names)[columns_g], "readout")
    rows = table.with_columns(knockdown=pl.Series(falls_c).fill_nan(None))
    whole = whole.of_readouts(columns_g)
    write_profiles(whole, kept_c, rows, readouts, unit, folder / PROFILES)
    if config.de != "none":
        write_de(de_parts(whole, kept_c, table, readouts, unit, tests), folder / TABLE)
    if len(sources.batches) > 1:
        chosen = np.flatnonzero(np.isin(sources.condition_k, kept_c) & (stats.n_k > 0))
        names = [sources.batches[b] for b in sources.batch_k]
        places = table[sources.condition_k].with_columns(batch=pl.Series(names))
        single = GroupView.all_of(stats).of_readouts(columns_g)
        write_profiles(single, chosen, places, readouts, unit, folder / BATCHES)
    write_json(folder / REPORT, {
        **counts.plain(), "conditions": table.height, "conditions_kept": int(kept_c.size),
        "readouts": len(sources.readouts), "readouts_kept": len(readouts), "unit": unit,
        "files": [s.path.name for s in sources.files], "plan": size.text(),
        "settings": config.plain(),
    })  # fmt: skip


def write_tests(
    stats: GroupStats, sources: Sources, config: PrepareConfig, path: Path, tests: Tests | None
) -> None:
    """Write the differential expression alone; see `finish`."""
    table = condition_table(sources.conditions)
    unit = LOG_UNIT if sources.unit == "counts" else sources.unit
    whole = GroupView(stats, sources.condition_k, table.height)
    _require_controls(whole, table)
    falls_c = knockdown(whole, table, sources.readouts, unit)
    kept_c = _kept_conditions(whole, table, falls_c, config)
    write_de(de_parts(whole, kept_c, table, sources.readouts, unit, tests), path)


def write_profiles(
    view: GroupView, rows: np.ndarray, table: pl.DataFrame, readouts: Vocabulary, unit: str,
    path: Path,
) -> None:  # fmt: skip
    """Write a Screen of profiles some rows at a time, atomically.

    Args:
        view: the statistics; group i is row i of the table.
        rows: the groups to write, none of them empty.
        table: the conditions, with `batch` where they are told apart.
        readouts: names of the readouts of the view.
        unit: unit of the values.
        path: the h5ad file.
    """
    import anndata as ad

    obs = profile_rows(table[rows], view.n_k[rows])
    var = pd.DataFrame(index=pd.Index(readouts.names, dtype=object))
    stamp = {"unit": unit, "level": "profiles", "format": FORMAT}
    at = 0
    with atomic_path(path) as temporary:
        ad.AnnData(obs=obs, var=var, uns={STAMP: stamp}).write_h5ad(temporary)
        with h5py.File(temporary, "a") as file:
            for some in in_parts(rows):
                for name, value in profile_values(view.take(some)).items():
                    place = "X" if name == "mean" else f"layers/{name}"
                    if not at:
                        _empty(file, place, (rows.size, len(readouts)))
                    file[place][at : at + some.size] = value  # pyright: ignore[reportIndexIssue]
                at += some.size


def _empty(file: h5py.File, place: str, shape: tuple[int, int]) -> None:
    """Make room for a matrix as anndata lays it out."""
    if place in file:
        del file[place]
    matrix = file.create_dataset(place, shape, np.float32)
    matrix.attrs["encoding-type"], matrix.attrs["encoding-version"] = "array", "0.2.0"


def _require_controls(whole: GroupView, table: pl.DataFrame) -> None:
    for control, _ in context_rows(table):
        if not whole.n_k[control]:
            message = (
                f"no control cell of context {table['context'][control]!r} passes the filters; "
                "loosen them: prepare.json says what each takes away"
            )
            raise SchemaError(message)


def knockdown(whole: GroupView, table: pl.DataFrame, readouts: Vocabulary, unit: str) -> np.ndarray:
    """Return by what share the targets of each condition fall against its control.

    The smallest fall of a combination's targets; NaN for controls, where no target is a readout,
    and in units without a level. 1 is nothing left, 0 no change, negative a rise.
    """
    falls_c = np.full(table.height, np.nan)
    if unit != LOG_UNIT:
        return falls_c
    for control, others in context_rows(table):
        level_g = np.expm1(whole.take(np.array([control])).mean_kg[0])
        for rows in in_parts(others[whole.n_k[others] > 0]):
            for row, mean_g in zip(rows, whole.take(rows).mean_kg, strict=True):
                columns = readouts.find(Condition.parse(table["perturbation"][int(row)]).targets)
                columns = columns[columns >= 0]
                columns = columns[level_g[columns] > 0]
                if columns.size:
                    left = np.expm1(mean_g[columns]) / level_g[columns]
                    falls_c[row] = float((1 - left).min())
    return falls_c


def _kept_conditions(
    whole: GroupView, table: pl.DataFrame, falls_c: np.ndarray, config: PrepareConfig
) -> np.ndarray:
    controls = [control for control, _ in context_rows(table)]
    keep = whole.n_k >= config.min_cells
    if config.min_knockdown is not None:
        lowers = table["kind"].is_in(LOWERS).to_numpy()
        keep &= ~(lowers & (falls_c < config.min_knockdown))
    keep[controls] = True
    keep &= whole.n_k > 0
    if keep.sum() <= len(controls):
        message = (
            f"none of {table.height - len(controls):,} conditions passes min_cells "
            f"{config.min_cells} and the other filters; loosen them"
        )
        raise SchemaError(message)
    return np.flatnonzero(keep)


def variable_readouts(stats: GroupStats, sources: Sources, n: int) -> np.ndarray:
    """Return which readouts vary most for their mean, and all that are targets.

    The log variance of all cells is compared with that of readouts of a like mean (<= 20 bins).

    Source:
        The dispersion ranking of Satija 2015, on log values and without their cut-offs.
    """
    one = stats.merged(np.zeros(stats.n_k.size, np.int64), 1)
    mean_g, log_g = one.mean_kg[0], np.log(np.maximum(one.var_kg[0], 1e-12))
    n_bins = int(np.clip(mean_g.size // 50, 1, 20))
    edges = np.quantile(mean_g, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins = np.searchsorted(edges, mean_g)
    score_g = np.full(mean_g.size, -np.inf)
    for b in np.unique(bins):
        here = bins == b
        spread = log_g[here].std()
        score_g[here] = (log_g[here] - log_g[here].mean()) / (spread if spread > 0 else 1.0)
    keep = np.zeros(mean_g.size, bool)
    keep[np.argsort(-score_g, kind="stable")[:n]] = True
    targets = {t for c in sources.conditions for t in c.targets}
    found = sources.readouts.find(sorted(targets))
    keep[found[found >= 0]] = True
    return keep
