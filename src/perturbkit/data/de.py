"""Differential expression: each condition against the control of its context."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from scipy import sparse, special

from perturbkit.core.condition import CONTROL
from perturbkit.core.errors import ConfigError, SchemaError, unknown_name
from perturbkit.core.files import atomic_path
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.false_discovery import benjamini_hochberg_by_row
from perturbkit.data.profiles import condition_codes, in_parts
from perturbkit.data.ranksum import rank_sums
from perturbkit.data.stats import GroupStats, GroupView, cell_scales, group_stats, library_sizes

Method = Literal["wilcoxon", "welch", "pydeseq2"]
METHODS = get_args(Method)
CONFIDENCE = 0.95
LOG_UNIT = "log1p_cp10k"
TEXTS = ("perturbation", "context", "kind")
AT_A_TIME = 8
"""Conditions whose rows are in memory together."""
MANY = 200.0
"""Degrees of freedom from which the quantile of t is taken from its expansion about the normal."""


@dataclass(frozen=True, eq=False)
class Welch:
    """Welch's t of groups [c] against one reference, by readout [g]."""

    difference_cg: np.ndarray
    """mean of the group minus mean of the reference"""
    error_cg: np.ndarray
    """standard error of the difference"""
    df_cg: np.ndarray
    """degrees of freedom (Welch-Satterthwaite)"""

    @classmethod
    def of(cls, groups: GroupStats, reference: GroupStats) -> "Welch":
        """Compare each group with the one group of `reference`."""
        share_cg = groups.var_kg / groups.n_k[:, None]
        share_0g = reference.var_kg / reference.n_k[:, None]
        both = share_cg + share_0g
        with np.errstate(divide="ignore", invalid="ignore"):
            df_cg = np.square(both) / (
                np.square(share_cg) / (groups.n_k[:, None] - 1)
                + np.square(share_0g) / (reference.n_k[:, None] - 1)
            )
        return cls(groups.mean_kg - reference.mean_kg, np.sqrt(both), df_cg)

    @cached_property
    def t_cg(self) -> np.ndarray:
        """The statistic; 0 where neither mean nor spread differ, NaN with fewer than two cells."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t_cg = self.difference_cg / self.error_cg
        return np.where((self.difference_cg == 0) & (self.error_cg == 0), 0.0, t_cg)

    @cached_property
    def p_value_cg(self) -> np.ndarray:
        """Two-sided p-value; 1 where nothing differs, NaN with fewer than two cells."""
        df_cg = np.where(np.isnan(self.df_cg) & ~np.isnan(self.t_cg), 1.0, self.df_cg)
        return 2 * special.stdtr(df_cg, -np.abs(self.t_cg))

    @cached_property
    def margin_cg(self) -> np.ndarray:
        """Half the width of the 95 % interval of the difference."""
        margin_cg = self.error_cg * t_quantile(self.df_cg, 0.5 + CONFIDENCE / 2)
        return np.where(self.error_cg == 0, 0.0, margin_cg)


@dataclass(frozen=True, eq=False)
class Tests:
    """Tests in place of Welch's, conditions by readouts; NaN where nothing was compared."""

    statistic_cg: np.ndarray
    p_value_cg: np.ndarray
    effect_cg: np.ndarray | None = None
    """the effect in natural logarithms, where the model has one of its own"""
    margin_cg: np.ndarray | None = None
    """half the width of its 95 % interval"""

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All that are there."""
        given = (self.statistic_cg, self.p_value_cg, self.effect_cg, self.margin_cg)
        return tuple(a for a in given if a is not None)

    def take(self, rows: np.ndarray, columns_g: np.ndarray | None) -> "Tests":
        """Return some conditions, and some readouts where they are named."""
        part = (a[rows] for a in self.arrays)
        return Tests(*(a if columns_g is None else a[:, columns_g] for a in part))


def t_quantile(df: np.ndarray, level: float) -> np.ndarray:
    """Return the quantile of Student's t, to 1e-7; NaN stays NaN.

    Source:
        Abramowitz & Stegun 26.7.5 from MANY degrees of freedom, scipy's inverse below.
    """
    z = float(special.ndtri(level))
    with np.errstate(divide="ignore", invalid="ignore"):
        quantile = (
            z
            + (z**3 + z) / (4 * df)
            + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
        )
    few = df < MANY
    quantile[few] = special.stdtrit(df[few], level)
    return quantile


def differential_expression(screen: Screen, method: Method = "wilcoxon") -> pl.DataFrame:
    """Compare the cells of each condition with the control cells of its context.

    Counts are normalized to log1p per ten thousand first.

    Args:
        screen: cells.
        method: `wilcoxon` (rank sum, tie and continuity correction), `welch` (t), or `pydeseq2`
            (the batches of a condition are its replicates; counts only, extra `deseq`).

    Returns:
        A row for each condition and readout: `perturbation, context, kind, dose_um, time_h,
        readout, n_cells, n_control, mean, control_mean, effect, effect_low, effect_high` (the
        difference of the means and its 95 % interval by Welch; of pydeseq2 the natural-log fold
        change of its model and the interval of that), `log2fc` (log units: the effect in
        doublings, with a pseudo-count of 1 per ten thousand, always finite), `statistic` (AUC, t
        or Wald), `p_value`, `fdr` (Benjamini-Hochberg within the condition).

    Raises:
        SchemaError: profiles, a context without control cells, or no replicates for pydeseq2.
        UnitError: pydeseq2 without counts.
        ConfigError: another method, or its package is not installed.
    """
    if method not in METHODS:
        raise ConfigError(str(unknown_name("method", method, METHODS)))
    if screen.level != "cells":
        message = "differential expression needs cells, and the screen holds profiles; give cells"
        raise SchemaError(message)
    table, code_n = condition_codes(screen)
    x_ng, unit = screen.adata.X, screen.unit
    tests = _pseudobulk_tests(screen, table, code_n) if method == "pydeseq2" else None
    if unit == "counts":
        x_ng, unit = log_normalized(x_ng), LOG_UNIT
        code_n = np.where(np.diff(x_ng.indptr) > 0, code_n, -1)
    stats = group_stats(x_ng, code_n, table.height)
    if method == "wilcoxon":
        tests = _rank_tests(x_ng, code_n, table)
    return de_table(stats, table, screen.readouts, unit, tests)


def _pseudobulk_tests(screen: Screen, table: pl.DataFrame, code_n: np.ndarray) -> "Tests":
    from perturbkit.data.deseq import Replicates, deseq_tests, require_counts

    require_counts(screen.unit)
    batch_n = screen.adata.obs["batch"].cat.codes.to_numpy().astype(np.int64)
    n_batches = int(batch_n.max()) + 1
    groups, group_n = np.unique(code_n * n_batches + batch_n, return_inverse=True)
    sums = group_stats(screen.adata.X, group_n, groups.size)
    return deseq_tests(Replicates(sums, *np.divmod(groups, n_batches)), table)


def log_normalized(x_ng: Any) -> sparse.csr_matrix:
    """Return log1p of counts per ten thousand, sparse float32; cells without counts stay empty.

    Rounded, so that equal shares of different totals, such as 2 of 24 and 3 of 36, are ties.
    """
    counts = sparse.csr_matrix(x_ng)
    data = log_values(counts.data, counts.indptr, cell_scales(library_sizes(counts)))
    matrix = sparse.csr_matrix((data, counts.indices, counts.indptr), counts.shape)
    if counts.nnz and not counts.data.all():
        matrix.eliminate_zeros()
    return matrix


def log_values(data: np.ndarray, indptr: np.ndarray, scale_n: np.ndarray) -> np.ndarray:
    """Return log1p of the stored counts of cells times the scale of each cell, float32."""
    return np.log1p(data * np.repeat(scale_n, np.diff(indptr))).astype(np.float32)


def context_rows(table: pl.DataFrame) -> list[tuple[int, np.ndarray]]:
    """Return for each context the row of its control and those of its other conditions.

    Raises:
        SchemaError: a context has no control.
    """
    rows = table.with_row_index("row")
    pairs = []
    for (context,), part in rows.group_by("context", maintain_order=True):
        is_control = (part["perturbation"] == CONTROL).to_numpy()
        if not is_control.any():
            message = (
                f"context {context!r} has no control cells to compare with; add them, or leave "
                "the context out"
            )
            raise SchemaError(message)
        where = part["row"].to_numpy().astype(np.int64)
        pairs.append((int(where[is_control][0]), where[~is_control]))
    return pairs


def _rank_tests(x_ng: Any, code_n: np.ndarray, table: pl.DataFrame) -> Tests:
    """Return AUC and p-value of the rank sum; NaN for controls and conditions without cells."""
    n_c = np.bincount(code_n[code_n >= 0], minlength=table.height)
    shape = (table.height, x_ng.shape[1])
    auc_cg, p_value_cg = np.full(shape, np.nan), np.full(shape, np.nan)
    for control, others in context_rows(table):
        filled = others[n_c[others] > 0]
        if not n_c[control] or not filled.size:
            continue
        local_c = np.full(table.height + 1, -1)  # the last one is for code -1
        local_c[control], local_c[filled] = 0, np.arange(1, filled.size + 1)
        rows = np.flatnonzero(local_c[code_n] >= 0)
        sums = rank_sums(x_ng[rows], local_c[code_n[rows]], filled.size)
        auc_cg[filled], p_value_cg[filled] = sums.auc_pg, sums.p_value_pg
    return Tests(auc_cg, p_value_cg)


def de_table(
    stats: GroupStats,
    table: pl.DataFrame,
    readouts: Vocabulary,
    unit: str,
    tests: Tests | None = None,
) -> pl.DataFrame:
    """Return the table of `differential_expression` from the statistics of each condition.

    Args:
        stats: group i is condition i of the table.
        table: the conditions.
        readouts: names of the readouts.
        unit: unit of the values.
        tests: statistic and p-value in place of Welch's.
    """
    every = np.arange(table.height)
    return pl.concat(de_parts(GroupView.all_of(stats), every, table, readouts, unit, tests))


def de_parts(
    stats: GroupView,
    kept_c: np.ndarray,
    table: pl.DataFrame,
    readouts: Vocabulary,
    unit: str,
    tests: Tests | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the rows of `de_table` for the kept conditions, some conditions at a time."""
    wanted = np.zeros(table.height, bool)
    wanted[kept_c] = stats.n_k[kept_c] > 0
    pairs = [(control, others[wanted[others]]) for control, others in context_rows(table)]
    if not any(others.size for _, others in pairs):
        message = "there is no condition besides the controls to compare; check the labels"
        raise SchemaError(message)
    names = [pl.Enum(table[c].unique(maintain_order=True)) for c in TEXTS]
    table = table.with_columns(pl.col(c).cast(e) for c, e in zip(TEXTS, names, strict=True))
    every = pl.Series("readout", list(readouts), dtype=pl.Enum(list(readouts)))
    for control, others in pairs:
        reference = stats.take(np.array([control]))
        for rows in in_parts(others, AT_A_TIME):
            test = None if tests is None else tests.take(rows, stats.columns_g)
            yield _rows(stats.take(rows), reference, table[rows], (every, unit, test))


def write_de(parts: Iterator[pl.DataFrame], path: Path) -> None:
    """Write the rows of `de_parts` as one parquet file, atomically, without holding them all."""
    from polars.io.plugins import register_io_source

    first = next(parts)

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        del columns, predicate, n_rows, size  # everything is written
        yield first
        yield from parts

    with atomic_path(path) as temporary:
        register_io_source(source, schema=first.schema).sink_parquet(
            temporary, row_group_size=50_000
        )


def _rows(
    groups: GroupStats, reference: GroupStats, table: pl.DataFrame,
    about: tuple[pl.Series, str, Tests | None],
) -> pl.DataFrame:  # fmt: skip
    every, unit, tests = about
    welch = Welch.of(groups, reference)
    tests = tests or Tests(welch.t_cg, welch.p_value_cg)
    effect_cg, margin_cg = tests.effect_cg, tests.margin_cg
    if effect_cg is None or margin_cg is None:
        effect_cg, margin_cg = welch.difference_cg, welch.margin_cg
    p_value_cg = tests.p_value_cg
    valid = ~np.isnan(p_value_cg).any(1)
    fdr_cg = np.full_like(p_value_cg, np.nan)
    fdr_cg[valid] = benjamini_hochberg_by_row(p_value_cg[valid])
    n_c, n_g = p_value_cg.shape
    columns = {
        "mean": groups.mean_kg,
        "control_mean": np.broadcast_to(reference.mean_kg, (n_c, n_g)),
        "effect": effect_cg,
        "effect_low": effect_cg - margin_cg,
        "effect_high": effect_cg + margin_cg,
    }
    if unit == LOG_UNIT:
        # log2((expm1(mean) + 1) / (expm1(control) + 1)): the pseudo-count is that of log1p
        columns["log2fc"] = effect_cg / np.log(2)
    columns["statistic"] = tests.statistic_cg
    flat = {n: np.ravel(v).astype(np.float32) for n, v in columns.items()}
    # p-values below 1e-38 exist
    flat |= {"p_value": np.ravel(p_value_cg), "fdr": np.ravel(fdr_cg)}
    names = every.gather(np.tile(np.arange(n_g), n_c))
    repeat = np.repeat(np.arange(n_c), n_g)
    left = table.select("perturbation", "context", "kind", "dose_um", "time_h").with_columns(
        n_cells=pl.Series(groups.n_k.astype(np.int32)),
        n_control=pl.lit(int(reference.n_k[0]), pl.Int32),
    )[repeat]
    left = left.with_columns(names).select(*left.columns[:5], "readout", "n_cells", "n_control")
    return left.hstack(pl.DataFrame(flat))
