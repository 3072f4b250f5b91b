"""Sufficient statistics of cells by group: one pass, sparse, mergeable, never densified."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numba import njit
from scipy import sparse

from perturbkit.core.errors import SchemaError

TARGET_SUM = 1e4
"""log1p_cp10k: counts per ten thousand."""
SUM, SQUARE, NONZERO, HALF = range(4)
"""What the last axis of `moments_kgs` holds."""
SMALL = 32
"""Counts below this have their logarithm looked up: nearly all counts of nearly all cells."""


@dataclass(frozen=True, eq=False)
class GroupStats:
    """Sums over the cells of each group; adding two merges them exactly.

    Suffix `k` is the group axis, `g` the readout axis, `s` the four sums kept side by side, so
    that a value touches one cache line.
    """

    n_ks: np.ndarray
    """cells of each group, and of its half a; int64 [k, 2]"""
    moments_kgs: np.ndarray
    """sum of the values, of their squares, number other than zero, sum over half a; float64"""

    @classmethod
    def empty(cls, n_groups: int, n_readouts: int) -> Self:
        """Return the statistics of no cells."""
        return cls(np.zeros((n_groups, 2), np.int64), np.zeros((n_groups, n_readouts, 4)))

    def __add__(self, other: "GroupStats") -> "GroupStats":
        return GroupStats(self.n_ks + other.n_ks, self.moments_kgs + other.moments_kgs)

    def merged(self, into_k: np.ndarray, n_groups: int) -> "GroupStats":
        """Return coarser groups: group `k` is added to group `into_k[k]`; -1 drops it."""
        total = GroupStats.empty(n_groups, self.moments_kgs.shape[1])
        for k in np.flatnonzero(into_k >= 0):
            total.n_ks[into_k[k]] += self.n_ks[k]
            total.moments_kgs[into_k[k]] += self.moments_kgs[k]
        return total

    def take(self, rows: np.ndarray) -> "GroupStats":
        """Return some of the groups, in this order."""
        return GroupStats(self.n_ks[rows], self.moments_kgs[rows])

    @property
    def n_k(self) -> np.ndarray:
        """Cells of each group."""
        return self.n_ks[:, 0]

    @cached_property
    def mean_kg(self) -> np.ndarray:
        """Mean of each group, NaN for a group of no cells."""
        return self.moments_kgs[..., SUM] / _at_least(self.n_k, 1)

    @cached_property
    def var_kg(self) -> np.ndarray:
        """Variance of each group (n - 1), NaN for a group of fewer than two cells."""
        spread = self.moments_kgs[..., SQUARE] - self.n_k[:, None] * np.square(self.mean_kg)
        return np.maximum(spread, 0.0) / _at_least(self.n_k - 1, 1)

    @property
    def fraction_kg(self) -> np.ndarray:
        """Fraction of cells with a value other than zero, NaN for a group of no cells."""
        return self.moments_kgs[..., NONZERO] / _at_least(self.n_k, 1)

    @property
    def half_a_kg(self) -> np.ndarray:
        """Mean of half a, NaN where it has no cells."""
        return self.moments_kgs[..., HALF] / _at_least(self.n_ks[:, 1], 1)

    @property
    def half_b_kg(self) -> np.ndarray:
        """Mean of half b, NaN where it has no cells."""
        rest = self.moments_kgs[..., SUM] - self.moments_kgs[..., HALF]
        return rest / _at_least(self.n_k - self.n_ks[:, 1], 1)


@dataclass(frozen=True, eq=False)
class GroupView:
    """Coarser groups, or fewer readouts, of statistics that are added up only where looked at.

    A copy of the statistics of a large screen is what would not fit in memory.
    """

    stats: GroupStats
    into_k: np.ndarray
    """the coarser group of each group"""
    n_groups: int
    columns_g: np.ndarray | None = None
    """readouts to keep, as positions; all by default"""

    @classmethod
    def all_of(cls, stats: GroupStats) -> Self:
        """Return a view of the groups as they are."""
        return cls(stats, np.arange(stats.n_ks.shape[0]), stats.n_ks.shape[0])

    def of_readouts(self, columns_g: np.ndarray | None) -> "GroupView":
        """Return the same groups with some of the readouts; None is all."""
        return GroupView(self.stats, self.into_k, self.n_groups, columns_g)

    @cached_property
    def n_k(self) -> np.ndarray:
        """Cells of each coarser group."""
        n_k = np.zeros(self.n_groups, np.int64)
        np.add.at(n_k, self.into_k, self.stats.n_k)
        return n_k

    def take(self, rows: np.ndarray) -> GroupStats:
        """Return the statistics of some of the coarser groups, added up now."""
        order, start = self._members
        members = [order[start[c] : start[c + 1]] for c in rows]
        part = self.stats.take(np.concatenate(members))
        if self.columns_g is not None:
            part = GroupStats(part.n_ks, part.moments_kgs[:, self.columns_g])
        place = np.repeat(np.arange(rows.size), [m.size for m in members])
        return part.merged(place, rows.size)

    @cached_property
    def _members(self) -> tuple[np.ndarray, np.ndarray]:
        """Groups in the order of their coarser groups, and where each of these starts."""
        order = np.argsort(self.into_k, kind="stable")
        return order, np.searchsorted(self.into_k[order], np.arange(self.n_groups + 1))


def _at_least(n_k: np.ndarray, least: int) -> np.ndarray:
    return np.where(n_k >= least, n_k, np.nan)[:, None]


def library_sizes(x_ng: Any) -> np.ndarray:
    """Return the sum of each row, float64."""
    return np.asarray(x_ng.sum(axis=1, dtype=np.float64)).ravel()


def cell_scales(library_n: np.ndarray) -> np.ndarray:
    """Return what each cell's counts are multiplied by to reach TARGET_SUM; 0 for empty cells."""
    return np.divide(TARGET_SUM, library_n, out=np.zeros_like(library_n), where=library_n > 0)


def group_stats(
    x_ng: Any,
    code_n: np.ndarray,
    n_groups: int,
    *,
    half_n: np.ndarray | None = None,
    log_scale_n: np.ndarray | None = None,
) -> GroupStats:
    """Return the statistics of each group of cells.

    Args:
        x_ng: cells by readouts, dense or sparse.
        code_n: group of each cell, int64; -1 leaves the cell out.
        n_groups: number of groups.
        half_n: 0 for the cells of half a, 1 for the others; by default all are in half b.
        log_scale_n: where given, each value x of cell n counts as log1p(x * log_scale_n[n]).

    Raises:
        SchemaError: a code is not below `n_groups`, or there is not one for each cell.
    """
    code_n = np.ascontiguousarray(code_n, np.int64)
    if code_n.shape != (x_ng.shape[0],) or (code_n.size and code_n.max() >= n_groups):
        message = f"{code_n.shape[0]} group codes for {x_ng.shape[0]} cells and {n_groups} groups"
        raise SchemaError(message)
    matrix = sparse.csr_matrix(x_ng)  # of a dense matrix: its non-zeros; of CSC: a conversion
    stats = GroupStats.empty(n_groups, matrix.shape[1])
    half_n = np.ones(code_n.size, np.int8) if half_n is None else half_n.astype(np.int8)
    columns_g = np.arange(matrix.shape[1], dtype=np.int32)
    add_rows(stats, matrix.data, matrix.indices, matrix.indptr, columns_g, code_n, half_n,
             log_scale_n)  # fmt: skip
    return stats


def add_rows(  # noqa: PLR0913, PLR0917  (the three arrays of a CSR matrix, and what a row is)
    stats: GroupStats,
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    columns_g: np.ndarray,
    code_n: np.ndarray,
    half_n: np.ndarray,
    log_scale_n: np.ndarray | None,
) -> None:
    """Add the rows of a CSR matrix to the statistics in place; see `group_stats`.

    Args:
        stats: what is added to.
        data: stored values.
        indices: their columns.
        indptr: start of each row, and the end.
        columns_g: int32, the readout of each column in `stats`; -1 leaves the column out.
        code_n: group of each row; -1 leaves the row out.
        half_n: int8, 0 for rows of half a.
        log_scale_n: see `group_stats`.
    """
    scale_n = np.zeros(0) if log_scale_n is None else np.ascontiguousarray(log_scale_n, np.float64)
    # rows of one group follow each other: their sums then stay in the processor's cache
    order = np.argsort(code_n, kind="stable")
    _accumulate(data, indices, indptr, columns_g, order, code_n, half_n, scale_n, stats.n_ks,
                stats.moments_kgs)  # fmt: skip


@njit(cache=True, nogil=True)
def _accumulate(data, indices, indptr, columns_g, order, code_n, half_n, scale_n, n_ks, moments):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    logged = scale_n.size > 0
    table = np.empty(SMALL)
    for row in order:
        k = code_n[row]
        if k < 0:
            continue
        in_a = 1.0 - half_n[row]
        n_ks[k, 0] += 1
        n_ks[k, 1] += 1 - half_n[row]
        table[:] = -1.0
        sums = moments[k]
        for at in range(indptr[row], indptr[row + 1]):
            value = float(data[at])
            g = columns_g[indices[at]]
            if value == 0.0 or g < 0:
                continue
            if logged:
                small = int(value) if 0 < value < SMALL else 0
                if small == value:
                    if table[small] < 0:
                        table[small] = np.log1p(value * scale_n[row])
                    value = table[small]
                else:
                    value = np.log1p(value * scale_n[row])
            sums[g, 0] += value
            sums[g, 1] += value * value
            sums[g, 2] += 1.0
            sums[g, 3] += value * in_a
