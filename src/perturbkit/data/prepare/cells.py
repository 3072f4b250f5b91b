"""What is known of each cell before its statistics: totals, shares, and whether it is kept."""

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from perturbkit.core.units import MAX_LOG, check_unit
from perturbkit.data.prepare.settings import PrepareConfig
from perturbkit.data.read.rows import Rows

MAD_TO_SD = 1.4826
REASONS = ("where", "counts", "genes", "mito", "mads")
"""Why cells are left out, in the order in which they are looked at."""


@dataclass(eq=False)
class CellCounts:
    """How many cells were read and why others were left out."""

    read: int = 0
    kept: int = 0
    left_out: np.ndarray = field(default_factory=lambda: np.zeros(len(REASONS), np.int64))

    def plain(self) -> dict[str, int]:
        """Return the counts under their names."""
        reasons = {f"left_out_by_{n}": int(v) for n, v in zip(REASONS, self.left_out, strict=True)}
        return {"cells_read": self.read, "cells_kept": self.kept, **reasons}


@dataclass(frozen=True, eq=False)
class CellTotals:
    """Of each cell: the sum of its values, its readouts other than zero, its mitochondrial sum."""

    total_n: np.ndarray
    genes_n: np.ndarray
    mito_n: np.ndarray


def cell_totals(rows: Rows, mito_g: np.ndarray, unit: str) -> CellTotals:
    """Return the totals of some cells, and refuse values that cannot be in `unit`.

    Raises:
        UnitError: negative, fractional, infinite or missing values, or logs too large.
    """
    total_n, genes_n, mito_n = np.zeros(rows.n), np.zeros(rows.n, np.int64), np.zeros(rows.n)
    low, high, fractions, bad = _totals(
        rows.data, rows.indices, rows.indptr, mito_g, total_n, genes_n, mito_n
    )
    suspicious = bad or (unit == "counts" and (low < 0 or fractions))
    suspicious = suspicious or (unit == "log1p_cp10k" and (low < 0 or high > MAX_LOG))
    if suspicious or unit == "signed_rank":
        check_unit(rows.data, unit, allow_nan=False)
    return CellTotals(total_n, genes_n, mito_n)


@njit(cache=True, nogil=True)
def _totals(data, indices, indptr, mito_g, total_n, genes_n, mito_n):  # noqa: ANN001, ANN202
    low, high, fractions, bad = 0.0, 0.0, 0, 0
    has_mito = mito_g.any()
    for row in range(total_n.size):
        total, genes, mito = 0.0, 0, 0.0
        for at in range(indptr[row], indptr[row + 1]):
            value = float(data[at])
            if not np.isfinite(value):
                bad += 1
            low, high = min(low, value), max(high, value)
            fractions += value != np.rint(value)
            total += value
            genes += value != 0.0
            if has_mito and mito_g[indices[at]]:
                mito += value
        total_n[row], genes_n[row], mito_n[row] = total, genes, mito
    return low, high, fractions, bad


def keep_cells(
    totals: CellTotals,
    where_n: np.ndarray,
    config: PrepareConfig,
    span: tuple[float, float] | None,
    counts: CellCounts,
) -> np.ndarray:
    """Return which cells are kept, and count the others by reason.

    Args:
        totals: of each cell.
        where_n: whether the cell's columns of obs let it in.
        config: the thresholds.
        span: least and largest total that the median absolute deviation allows, if asked for.
        counts: what is added to.
    """
    signed = totals.total_n < 0  # of z-scores and ranks there is no least total
    enough = (totals.total_n >= config.min_counts) | signed | (config.min_counts == 0)
    share_n = np.divide(totals.mito_n, totals.total_n, out=np.zeros_like(totals.mito_n),
                        where=totals.total_n > 0)  # fmt: skip
    near = np.ones_like(enough)
    if span is not None:
        near = (totals.total_n >= span[0]) & (totals.total_n <= span[1])
    tests = (where_n, enough, totals.genes_n >= config.min_genes, share_n <= config.max_mito, near)
    kept = np.ones_like(enough)
    for i, passed in enumerate(tests):
        counts.left_out[i] += int((kept & ~passed).sum())
        kept = kept & passed
    counts.read += kept.size
    counts.kept += int(kept.sum())
    return kept


def mad_span(total_n: np.ndarray, mads: float) -> tuple[float, float]:
    """Return the totals within so many median absolute deviations of the median, in log1p.

    Source:
        Germain 2020 (doi:10.1186/s13059-020-02136-7), as used by single-cell best practices.
    """
    logs = np.log1p(np.maximum(total_n, 0))
    middle = float(np.median(logs))
    width = mads * MAD_TO_SD * float(np.median(np.abs(logs - middle)))
    return float(np.expm1(middle - width)), float(np.expm1(middle + width))
