"""From cells to profiles, and from a Screen to the Responses that models and metrics use."""

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import CONDITION_SCHEMA, CONTROL, condition_keys
from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.screen import Screen
from perturbkit.data.stats import GroupStats, cell_scales, group_stats, library_sizes

HALF_LAYERS = ("half_a", "half_b")


def half_of_cells(code_n: np.ndarray, batch_n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Split the cells of each condition at random into halves 0 and 1, alike in their batches.

    Within a condition the halves differ by at most one cell, and so do they within each of its
    batches.

    Args:
        code_n: condition of each cell.
        batch_n: batch of each cell, as integers.
        rng: the random split.

    Returns:
        0 or 1 for each cell, int64.
    """
    order = np.lexsort((rng.random(code_n.size), batch_n, code_n))
    sorted_code = code_n[order]
    starts = np.flatnonzero(np.r_[True, sorted_code[1:] != sorted_code[:-1]])
    rank = np.arange(code_n.size) - np.repeat(starts, np.diff(np.r_[starts, code_n.size]))
    # which half takes the odd cell is drawn for each condition
    first = np.repeat(rng.integers(2, size=starts.size), np.diff(np.r_[starts, code_n.size]))
    half_n = np.empty(code_n.size, np.int64)
    half_n[order] = (rank + first) % 2
    return half_n


def condition_codes(screen: Screen) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the distinct conditions of a screen and the position of each row's condition.

    Controls of one context are one condition, whatever kind of perturbation they accompany.

    Raises:
        SchemaError: one perturbation comes in two kinds within a context.
    """
    rows = screen.row_table()
    is_control = pl.col("perturbation") == CONTROL
    kinds = rows.group_by("context").agg(
        pl.when(pl.col("kind").n_unique() == 1)
        .then(pl.col("kind").first()).otherwise(pl.lit("unknown")).alias("control_kind")
    )  # fmt: skip
    rows = rows.join(kinds, on="context", maintain_order="left").with_columns(
        kind=pl.when(is_control).then("control_kind").otherwise("kind")
    )
    rows = rows.select(*CONDITION_SCHEMA)
    table = rows.unique(maintain_order=True)
    keys = condition_keys(table)
    if len(set(keys)) != len(keys):
        twice = next(k for k in keys if keys.count(k) > 1)
        message = (
            f"{twice!r} comes in more than one kind; add the kind to the context, "
            "for example 'K562 CRISPRi', so that the two are told apart"
        )
        raise SchemaError(message)
    coded = table.with_row_index("code")
    joined = rows.join(
        coded, on=list(CONDITION_SCHEMA), how="left", nulls_equal=True, maintain_order="left"
    )
    return table, joined["code"].to_numpy().astype(np.int64)


def pseudobulk(screen: Screen, rng: np.random.Generator) -> Screen:
    """Average the cells of each condition.

    Counts are normalized cell by cell to ten thousand and logged before averaging; other units
    are averaged as they are. Cells without a single count are left out.

    Args:
        screen: cells.
        rng: the split of each condition's cells into halves, alike in their batches.

    Returns:
        Profiles: X the mean, layers `var` (n - 1), `fraction` (of cells with a value other than
        zero), `half_a` and `half_b` (means of the halves); `n_cells` in `obs`.

    Raises:
        SchemaError: the screen holds profiles already, or a kind is ambiguous.
    """
    if screen.level != "cells":
        message = "the screen holds profiles already; pseudobulk needs cells: use it as it is"
        raise SchemaError(message)
    table, code_n = condition_codes(screen)
    batch_n = screen.adata.obs["batch"].cat.codes.to_numpy().astype(np.int64)
    scale_n = None
    if screen.unit == "counts":
        library_n = library_sizes(screen.adata.X)
        scale_n = cell_scales(library_n)
        code_n = np.where(library_n > 0, code_n, -1)
    kept = code_n >= 0
    half_n = np.zeros(code_n.size, np.int8)
    half_n[kept] = half_of_cells(code_n[kept], batch_n[kept], rng)
    stats = group_stats(screen.adata.X, code_n, table.height, half_n=half_n, log_scale_n=scale_n)
    unit = "log1p_cp10k" if screen.unit == "counts" else screen.unit
    return profiles_of(stats, table, screen.adata.var, unit)


def profiles_of(stats: GroupStats, table: pl.DataFrame, var: pd.DataFrame, unit: str) -> Screen:
    """Build the Screen of profiles from the statistics of each condition.

    Args:
        stats: group i is condition i.
        table: the conditions, with `batch` where they are told apart; those of no cells are left
            out.
        var: what is known of the readouts; its index holds their names.
        unit: the unit of the values.
    """
    kept = np.flatnonzero(stats.n_k)
    obs = profile_rows(table[kept], stats.n_k[kept])
    parts = [profile_values(stats.take(rows)) for rows in in_parts(kept) or [kept]]
    layers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    adata = ad.AnnData(X=layers.pop("mean"), obs=obs, var=var, layers=layers)
    return Screen.of(adata, level="profiles", unit=unit)  # pyright: ignore[reportArgumentType]


def profile_rows(table: pl.DataFrame, n_c: np.ndarray) -> pd.DataFrame:
    """Return the `obs` of profiles.

    Args:
        table: the conditions, with `batch` where they are told apart.
        n_c: cells of each.
    """
    # of numbers null is NaN, never an object
    obs = pd.DataFrame({name: table[name].to_numpy() for name in table.columns})
    obs["n_cells"] = n_c
    names = condition_keys(table)
    if "batch" in table.columns:
        names = [f"{key} | {batch}" for key, batch in zip(names, table["batch"], strict=True)]
    else:
        obs["batch"] = "all"
    obs.index = pd.Index(names, dtype=object)
    return obs


def in_parts(rows: np.ndarray, size: int = 64) -> list[np.ndarray]:
    """Return the rows some at a time, so that what is made of them stays small."""
    return [rows[low : low + size] for low in range(0, rows.size, size)]


def profile_values(part: GroupStats) -> dict[str, np.ndarray]:
    """Return what a profile says of each readout, float32; `mean` first, the others are layers."""
    values = (part.mean_kg, part.var_kg, part.fraction_kg, part.half_a_kg, part.half_b_kg)
    names = ("mean", "var", "fraction", *HALF_LAYERS)
    return {n: v.astype(np.float32) for n, v in zip(names, values, strict=True)}


def responses_of(screen: Screen, rng: np.random.Generator | None = None) -> Responses:
    """Return the measured responses of a screen, a condition each.

    Args:
        screen: cells, which are averaged first, or profiles, whose replicates are averaged.
        rng: the split into halves; a fixed one by default, so that the ceiling is always of the
            same halves.

    Returns:
        One member with status `measured`; halves from the layers `half_a` and `half_b`, or from
        replicate profiles where every condition has at least one; NaN stays NaN.
    """
    rng = named_rng(0, "halves") if rng is None else rng
    if screen.level == "cells":
        screen = pseudobulk(screen, rng)
    table, code_n = condition_codes(screen)
    x_ng = _dense(screen.adata.X)
    if len(np.unique(code_n)) == len(code_n):
        values_cg, halves = x_ng, _half_layers(screen)
    else:
        values_cg = nan_means(x_ng, code_n, table.height)
        halves = _replicate_halves(x_ng, code_n, table.height, rng)
    n_cells = np.bincount(code_n, screen.adata.obs["n_cells"].to_numpy(float), table.height)
    table = table.with_columns(
        n_cells=pl.Series(n_cells.astype(np.int64)), status=pl.lit("measured")
    )
    return Responses(values_cg[None], table, screen.readouts, screen.unit, halves)


def nan_means(x_ng: np.ndarray, code_n: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the mean of the measured values of each group, NaN where none is; float32."""
    measured = ~np.isnan(x_ng)
    gather = _indicator(code_n, n_groups)
    count = gather @ measured.astype(np.float64)
    total = gather @ np.where(measured, x_ng, 0.0).astype(np.float64)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(
        np.float32
    )


def _indicator(code_n: np.ndarray, n_groups: int):  # noqa: ANN202  (a scipy array)
    from scipy import sparse

    rows = np.flatnonzero(code_n >= 0)
    return sparse.csr_array((np.ones(rows.size), (code_n[rows], rows)), (n_groups, code_n.size))


def _dense(x_ng) -> np.ndarray:  # noqa: ANN001  (an AnnData's X)
    return np.asarray(x_ng.toarray() if hasattr(x_ng, "toarray") else x_ng, np.float32)


def _half_layers(screen: Screen) -> np.ndarray | None:
    layers = screen.adata.layers
    if not all(name in layers for name in HALF_LAYERS):
        return None
    return np.stack([_dense(layers[name]) for name in HALF_LAYERS])


def _replicate_halves(
    x_ng: np.ndarray, code_n: np.ndarray, n_groups: int, rng: np.random.Generator
) -> np.ndarray:
    half_n = half_of_cells(code_n, np.zeros_like(code_n), rng)
    parts = [nan_means(x_ng, np.where(half_n == h, code_n, -1), n_groups) for h in range(2)]
    return np.stack(parts)
