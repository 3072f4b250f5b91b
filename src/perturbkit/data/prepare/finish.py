"""From the statistics of the groups to the files of a prepared screen."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import condition_table
from perturbkit.core.errors import SchemaError
from perturbkit.core.files import write_json
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.de import LOG_UNIT, context_rows, de_parts, write_de
from perturbkit.data.prepare.cells import CellCounts
from perturbkit.data.prepare.settings import PrepareConfig
from perturbkit.data.prepare.sources import Plan, Sources
from perturbkit.data.profiles import profiles_of
from perturbkit.data.read.h5ad import write_screen
from perturbkit.data.stats import GroupStats

PROFILES, BATCHES, TABLE, REPORT = "profiles.h5ad", "batches.h5ad", "de.parquet", "prepare.json"
LOWERS = ("crispri", "ko", "unknown")
"""Kinds of perturbation that lower their target."""


def finish(
    stats: GroupStats, counts: CellCounts, sources: Sources, config: PrepareConfig, size: Plan,
    folder: Path,
) -> Screen:  # fmt: skip
    """Write profiles, batch profiles, differential expression and a report; return the profiles.

    Raises:
        SchemaError: a context keeps no control cells, or nothing is left.
    """
    table = condition_table(sources.conditions)
    unit = LOG_UNIT if sources.unit == "counts" else sources.unit
    whole = stats
    if sources.condition_k.size > table.height:
        whole = stats.merged(sources.condition_k, table.height)
    _require_controls(whole, table)
    falls_c = knockdown(whole, table, sources.readouts, unit)
    kept_c = _kept_conditions(whole, table, falls_c, config)
    var_g = np.ones(len(sources.readouts), bool)
    if config.n_variable is not None:
        var_g = variable_readouts(whole, sources, config.n_variable)
    readouts = Vocabulary(np.array(sources.readouts.names)[var_g], "readout")
    var = pd.DataFrame(index=pd.Index(readouts.names, dtype=object))
    part = _selected(whole, kept_c, var_g)
    del whole
    rows = table[kept_c].with_columns(knockdown=pl.Series(falls_c[kept_c]).fill_nan(None))
    screen = profiles_of(part, rows, var, unit)
    write_screen(screen, folder / PROFILES)
    if config.de:
        write_de(de_parts(part, table[kept_c], readouts, unit), folder / TABLE)
    del part
    if len(sources.batches) > 1:
        chosen = np.flatnonzero(np.isin(sources.condition_k, kept_c))
        names = [sources.batches[b] for b in sources.batch_k[chosen]]
        places = table[sources.condition_k[chosen]].with_columns(batch=pl.Series(names))
        by_batch = profiles_of(_selected(stats, chosen, var_g), places, var, unit)
        write_screen(by_batch, folder / BATCHES)
    write_json(folder / REPORT, {
        **counts.plain(), "conditions": table.height, "conditions_kept": int(kept_c.size),
        "readouts": len(sources.readouts), "readouts_kept": len(readouts), "unit": unit,
        "files": [s.path.name for s in sources.files], "plan": size.text(),
        "settings": config.plain(),
    })  # fmt: skip
    return screen


def _selected(stats: GroupStats, rows: np.ndarray, var_g: np.ndarray) -> GroupStats:
    """Return some groups and readouts; the same object when that is all of them."""
    if rows.size < stats.n_ks.shape[0]:
        stats = GroupStats(stats.n_ks[rows], stats.moments_kgs[rows])
    return stats if var_g.all() else GroupStats(stats.n_ks, stats.moments_kgs[:, var_g])


def _require_controls(whole: GroupStats, table: pl.DataFrame) -> None:
    for control, _ in context_rows(table):
        if not whole.n_k[control]:
            message = (
                f"no control cell of context {table['context'][control]!r} passes the filters; "
                "loosen them: prepare.json says what each takes away"
            )
            raise SchemaError(message)


def knockdown(
    whole: GroupStats, table: pl.DataFrame, readouts: Vocabulary, unit: str
) -> np.ndarray:
    """Return by what share the targets of each condition fall against its control.

    The smallest fall of a combination's targets; NaN for controls, where no target is a readout,
    and in units without a level. 1 is nothing left, 0 no change, negative a rise.
    """
    from perturbkit.core.condition import Condition

    falls_c = np.full(table.height, np.nan)
    if unit != LOG_UNIT:
        return falls_c
    for control, others in context_rows(table):
        level_g = np.expm1(whole.mean_kg[control])
        for row in others[whole.n_k[others] > 0]:
            targets = Condition.parse(table["perturbation"][int(row)]).targets
            columns = readouts.find(targets)
            columns = columns[columns >= 0]
            columns = columns[level_g[columns] > 0]
            if columns.size:
                left = np.expm1(whole.mean_kg[row, columns]) / level_g[columns]
                falls_c[row] = float((1 - left).min())
    return falls_c


def _kept_conditions(
    whole: GroupStats, table: pl.DataFrame, falls_c: np.ndarray, config: PrepareConfig
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


def variable_readouts(whole: GroupStats, sources: Sources, n: int) -> np.ndarray:
    """Return which readouts vary most for their mean, and all that are targets.

    The log variance of all cells is compared with that of readouts of a like mean (<= 20 bins).

    Source:
        The dispersion ranking of Satija 2015, on log values and without their cut-offs.
    """
    one = whole.merged(np.zeros(whole.n_k.size, np.int64), 1)
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
