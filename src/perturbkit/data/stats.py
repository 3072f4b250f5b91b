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


@dataclass(frozen=True, eq=False)
class GroupStats:
    """Sums over the cells of each group; adding two merges them exactly.

    Suffix `k` is the group axis, `g` the readout axis.
    """

    n_k: np.ndarray
    """cells of each group, int64"""
    sum_kg: np.ndarray
    """sum of the values, float64"""
    square_kg: np.ndarray
    """sum of the squared values, float64"""
    nonzero_kg: np.ndarray
    """cells with a value other than zero, int64"""

    @classmethod
    def empty(cls, n_groups: int, n_readouts: int) -> Self:
        """Return the statistics of no cells."""
        shape = (n_groups, n_readouts)
        return cls(
            np.zeros(n_groups, np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.zeros(shape, np.int64),
        )

    def __add__(self, other: "GroupStats") -> "GroupStats":
        return GroupStats(
            self.n_k + other.n_k,
            self.sum_kg + other.sum_kg,
            self.square_kg + other.square_kg,
            self.nonzero_kg + other.nonzero_kg,
        )

    def merged(self, into_k: np.ndarray, n_groups: int) -> "GroupStats":
        """Return coarser groups: group `k` is added to group `into_k[k]`; -1 drops it."""
        kept = np.flatnonzero(into_k >= 0)
        ones = np.ones(kept.size)
        gather = sparse.csr_array((ones, (into_k[kept], kept)), (n_groups, len(self.n_k)))
        n_k = np.bincount(into_k[kept], self.n_k[kept], n_groups).astype(np.int64)
        return GroupStats(
            n_k,
            gather @ self.sum_kg,
            gather @ self.square_kg,
            (gather @ self.nonzero_kg).astype(np.int64),
        )

    @cached_property
    def mean_kg(self) -> np.ndarray:
        """Mean of each group, NaN for a group of no cells."""
        return self.sum_kg / _positive(self.n_k, 1)

    @cached_property
    def var_kg(self) -> np.ndarray:
        """Variance of each group (n - 1), NaN for a group of fewer than two cells."""
        spread = self.square_kg - self.n_k[:, None] * np.square(self.mean_kg)
        return np.maximum(spread, 0.0) / _positive(self.n_k - 1, 1)

    @cached_property
    def fraction_kg(self) -> np.ndarray:
        """Fraction of cells with a value other than zero, NaN for a group of no cells."""
        return self.nonzero_kg / _positive(self.n_k, 1)


def _positive(n_k: np.ndarray, least: int) -> np.ndarray:
    return np.where(n_k >= least, n_k, np.nan)[:, None]


def library_sizes(x_ng: Any) -> np.ndarray:
    """Return the sum of each row, float64."""
    return np.asarray(x_ng.sum(axis=1, dtype=np.float64)).ravel()


def cell_scales(library_n: np.ndarray) -> np.ndarray:
    """Return what each cell's counts are multiplied by to reach TARGET_SUM; 0 for empty cells."""
    return np.divide(TARGET_SUM, library_n, out=np.zeros_like(library_n), where=library_n > 0)


def group_stats(
    x_ng: Any, code_n: np.ndarray, n_groups: int, *, log_scale_n: np.ndarray | None = None
) -> GroupStats:
    """Return the statistics of each group of cells.

    Args:
        x_ng: cells by readouts, dense or sparse.
        code_n: group of each cell, int64; -1 leaves the cell out.
        n_groups: number of groups.
        log_scale_n: where given, each value x of cell n counts as log1p(x * log_scale_n[n]).

    Raises:
        SchemaError: a code is not below `n_groups`.
    """
    code_n = np.ascontiguousarray(code_n, np.int64)
    if code_n.shape != (x_ng.shape[0],) or (code_n.size and code_n.max() >= n_groups):
        message = f"{code_n.shape[0]} group codes for {x_ng.shape[0]} cells and {n_groups} groups"
        raise SchemaError(message)
    matrix = sparse.csr_matrix(x_ng)  # of a dense matrix: its non-zeros; of CSC: a conversion
    stats = GroupStats.empty(n_groups, matrix.shape[1])
    scale_n = np.zeros(0) if log_scale_n is None else np.ascontiguousarray(log_scale_n, np.float64)
    _accumulate(
        matrix.data, matrix.indices, matrix.indptr, code_n, scale_n,
        stats.n_k, stats.sum_kg, stats.square_kg, stats.nonzero_kg,
    )  # fmt: skip
    return stats


@njit(cache=True, nogil=True)
def _accumulate(data, indices, indptr, code_n, scale_n, n_k, sum_kg, square_kg, nonzero_kg):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    logged = scale_n.size > 0
    for row in range(code_n.size):
        k = code_n[row]
        if k < 0:
            continue
        n_k[k] += 1
        for at in range(indptr[row], indptr[row + 1]):
            value = float(data[at])
            if value != 0.0:
                if logged:
                    value = np.log1p(value * scale_n[row])
                g = indices[at]
                sum_kg[k, g] += value
                square_kg[k, g] += value * value
                nonzero_kg[k, g] += 1
