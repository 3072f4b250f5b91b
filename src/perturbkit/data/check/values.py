"""The values of a file: their unit and why, and what no unit allows. One pass, in chunks."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from perturbkit.core.units import MAX_LOG
from perturbkit.data.check.opened import AT_A_TIME, Chunked
from perturbkit.data.check.report import Finding
from perturbkit.data.read.rows import Rows

SPARSE_BELOW = 0.4
"""A dense matrix with a smaller share of non-zeros takes less room by rows of non-zeros."""
TOTAL = 1e4


@dataclass(eq=False)
class Values:
    """What one pass over a matrix finds."""

    shape: tuple[int, int]
    is_sparse: bool
    total_n: np.ndarray
    """sum of each row"""
    genes_n: np.ndarray
    """readouts other than zero in each row"""
    cells_g: np.ndarray
    """rows other than zero in each column"""
    exp_n: np.ndarray
    """sum of expm1 of each row, of at most MAX_LOG"""
    low: float = 0.0
    high: float = 0.0
    n_nan: int = 0
    n_inf: int = 0
    n_negative: int = 0
    n_fraction: int = 0
    n_nonzero: int = 0
    n_unsorted: int = 0

    @property
    def density(self) -> float:
        """Share of values other than zero."""
        return self.n_nonzero / (self.shape[0] * self.shape[1])


def scan(matrix: Chunked) -> Values:
    """Read every value once."""
    n, g = matrix.shape
    found = Values((n, g), matrix.is_sparse, np.zeros(n), np.zeros(n, np.int64),
                   np.zeros(g, np.int64), np.zeros(n))  # fmt: skip
    for rows in matrix.chunks(AT_A_TIME):
        add(found, rows)
    return found


def add(found: Values, rows: Rows) -> None:
    """Add some rows to what was found."""
    here = slice(rows.start, rows.stop)
    counts = np.zeros(6, np.int64)
    low, high = _scan(
        rows.data, rows.indices, rows.indptr, found.total_n[here], found.genes_n[here],
        found.exp_n[here], found.cells_g, counts,
    )  # fmt: skip
    found.low, found.high = min(found.low, low), max(found.high, high)
    found.n_nan += int(counts[0])
    found.n_inf += int(counts[1])
    found.n_negative += int(counts[2])
    found.n_fraction += int(counts[3])
    found.n_nonzero += int(counts[4])
    found.n_unsorted += int(counts[5])


@njit(cache=True, nogil=True)
def _scan(data, indices, indptr, total_n, genes_n, exp_n, cells_g, counts):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    low, high = 0.0, 0.0
    for row in range(total_n.size):
        last, unsorted = -1, False
        for at in range(indptr[row], indptr[row + 1]):
            value, g = float(data[at]), indices[at]
            unsorted |= g <= last
            last = g
            if np.isnan(value):
                counts[0] += 1
                continue
            if np.isinf(value):
                counts[1] += 1
                continue
            low, high = min(low, value), max(high, value)
            counts[2] += value < 0
            counts[3] += value != np.rint(value)
            if value != 0.0:
                counts[4] += 1
                genes_n[row] += 1
                cells_g[g] += 1
            total_n[row] += value
            if value <= 20.0:
                exp_n[row] += np.expm1(value)
        counts[5] += unsorted
    return low, high


def unit_of(found: Values) -> tuple[str | None, str]:
    """Return the unit that the values show, None where they show none, and why, in words."""
    span = f"values from {found.low:.4g} to {found.high:.4g}"
    if found.n_nan + found.n_inf >= found.n_nonzero:
        return None, "hardly any value is a number"
    if found.low < 0:
        if found.low >= -1.0001 and found.high <= 1.0001 and found.n_fraction:
            return "signed_rank", f"{span}, all between -1 and 1"
        return None, f"{span}: negative, so z-scores or log fold changes; only you know which"
    if not found.n_fraction:
        return "counts", f"all {found.n_nonzero:,} values are whole, up to {found.high:,.0f}"
    constant, total = _constant(found.total_n)
    if constant and found.high > MAX_LOG:
        return None, f"{span}; every row sums to {total:,.4g}: normalized, but not logged"
    if found.high > MAX_LOG:
        return None, f"{span}: neither whole counts nor logs"
    return _log_unit(found, span)


def _log_unit(found: Values, span: str) -> tuple[str | None, str]:
    """Judge fractions of at most MAX_LOG by what the rows sum to when they are taken back."""
    constant, total = _constant(found.exp_n)
    if constant and abs(total / TOTAL - 1) > 0.05:
        return None, (
            f"{span}; expm1 of every row sums to {total:,.4g}: log-normalized to another total "
            "than ten thousand"
        )
    if constant:
        return "log1p_cp10k", f"{span}; expm1 of every row sums to {total:,.0f}"
    top = float(np.quantile(found.exp_n, 0.99))
    if top <= TOTAL * 1.05:
        return "log1p_cp10k", (
            f"{span}; expm1 of a row sums to {np.median(found.exp_n):,.0f} (median), at most "
            "ten thousand: log values of some of the genes"
        )
    return None, f"{span}; expm1 of the rows sums to {top:,.4g} and more, and not to one total"


def _constant(sum_n: np.ndarray) -> tuple[bool, float]:
    filled = sum_n[sum_n > 0]
    if filled.size < 2:
        return False, 0.0
    low, middle, high = np.quantile(filled, [0.01, 0.5, 0.99])
    return bool(high - low < 0.02 * middle), float(middle)


def value_findings(
    found: Values, unit: str | None, why: str, stated: str | None, *, is_cells: bool
) -> list[Finding]:
    """Return what is wrong with the values.

    Args:
        found: the pass over the matrix.
        unit: the unit the values show.
        why: the words of `unit_of`.
        stated: the unit that the file or the user states.
        is_cells: whether rows are cells; in profiles NaN is what was not measured.
    """
    n, g = found.shape
    out: list[Finding] = []

    def say(code: str, severity, says: str, do: str, *, fixable: bool = False) -> None:  # noqa: ANN001
        out.append(Finding(code, severity, says, do, fixable))

    if found.n_nan and not is_cells:
        share = found.n_nan / (n * g)
        say("not_measured", "note", f"{found.n_nan:,} values ({share:.1%}) are missing (NaN)",
            "nothing to mend: in profiles they are what was not measured")  # fmt: skip
    if found.n_inf or (found.n_nan and is_cells):
        say("not_finite", "error",
            f"{found.n_nan:,} values are missing (NaN) and {found.n_inf:,} infinite",
            "--fix leaves out the cells that hold them", fixable=True)  # fmt: skip
    if stated and unit != stated and (unit or stated in ("counts", "log1p_cp10k")):
        shown = unit or "no unit that is known"
        say("wrong_unit", "error", f"the unit is said to be {stated}, and the values show {shown} "
            f"({why})", f"state --unit {unit or 'UNIT'}")  # fmt: skip
    elif not stated and unit:
        say("unit_not_stated", "note", f"the file does not state its unit; the values show {unit}",
            f"state --unit {unit}; --fix OUT.h5ad --unit {unit} writes it into the file",
            fixable=True)  # fmt: skip
    elif not stated:
        do = "take the raw counts, or state --unit"
        if found.low < 0:
            do = "state --unit zscore, log2fc or score"
        say("unit_unclear", "error", f"the values show no unit: {why}", do)
    if (stated or unit) == "counts" and found.n_negative:
        say("negative_counts", "error", f"{found.n_negative:,} counts are negative",
            "state the unit the values are in: zscore or log2fc")  # fmt: skip
    if unit == "counts" and found.high == 1 and found.density > 0.01:
        say("binary", "warning", "all values are 0 or 1: the counts were binarized",
            "take the counts before binarization")  # fmt: skip
    empty_n, empty_g = int((found.genes_n == 0).sum()), int((found.cells_g == 0).sum())
    if empty_n and is_cells:
        say("empty_cells", "warning", f"{empty_n:,} of {n:,} rows are all zero",
            "--fix leaves them out; prepare does so by itself", fixable=True)  # fmt: skip
    if empty_g and is_cells:
        say("empty_genes", "note", f"{empty_g:,} of {g:,} readouts are zero in every row",
            "--fix leaves them out", fixable=True)  # fmt: skip
    if is_cells and not found.is_sparse and found.density < SPARSE_BELOW:
        say("dense", "warning", f"stored densely, and {1 - found.density:.0%} of it is zero",
            "--fix OUT.h5ad stores the values other than zero only", fixable=True)  # fmt: skip
    if found.n_unsorted:
        say("unsorted", "warning", f"column numbers are not in order in {found.n_unsorted:,} rows",
            "--fix sorts them", fixable=True)  # fmt: skip
    return out
