"""Differential expression by rank: Mann-Whitney U of every group against one reference.

Each gene's stored values are sorted once, for all groups and the reference together; zeros are
ranked analytically. Work and memory grow with the stored values, not with cells times genes.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from scipy import sparse, special

from perturbkit.core.errors import SchemaError

REFERENCE = 0
"""Code of the reference group."""
BLOCK = 2**24
"""Stored values that are in column order at a time."""


@dataclass(frozen=True, eq=False)
class RankSums:
    """Mann-Whitney statistics of groups [p] against the reference, by gene [g]."""

    u_pg: np.ndarray
    """U of the group, float64: pairs in which its cell is above the reference's; ties count half"""
    tie_pg: np.ndarray
    """sum of t^3 - t over the ties of the joint ranking, float64"""
    n_p: np.ndarray
    """cells of each group"""
    n_reference: int
    """cells of the reference"""

    @cached_property
    def p_value_pg(self) -> np.ndarray:
        """Two-sided p-value, normal approximation with tie and continuity correction."""
        n_p = self.n_p[:, None].astype(np.float64)
        pairs = n_p * self.n_reference
        n = n_p + self.n_reference
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = pairs / 12 * ((n + 1) - self.tie_pg / (n * (n - 1)))
            z = (np.maximum(self.u_pg, pairs - self.u_pg) - pairs / 2 - 0.5) / np.sqrt(variance)
            p_value = np.clip(2 * special.ndtr(-z), 0, 1)
        return np.where(variance > 0, p_value, 1.0)

    @cached_property
    def z_pg(self) -> np.ndarray:
        """Standardized U, tie-corrected, without continuity correction; above 0 where up."""
        n_p = self.n_p[:, None].astype(np.float64)
        pairs, n = n_p * self.n_reference, n_p + self.n_reference
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = pairs / 12 * ((n + 1) - self.tie_pg / (n * (n - 1)))
            z = (self.u_pg - pairs / 2) / np.sqrt(variance)
        return np.where(variance > 0, z, 0.0)

    @cached_property
    def auc_pg(self) -> np.ndarray:
        """Probability that a cell of the group is above one of the reference; ties count half."""
        return self.u_pg / (self.n_p[:, None] * float(self.n_reference))


def rank_sums(
    x_ng: Any, code_n: np.ndarray, n_groups: int, *, reference_ng: Any = None
) -> RankSums:
    """Compare each group with the reference, gene by gene.

    Args:
        x_ng: cells by genes, sparse or dense; compared as float32.
        code_n: group of each cell: 0 is the reference, 1 to n_groups the groups, -1 leaves out.
        n_groups: number of groups besides the reference.
        reference_ng: cells of the reference where they are not in `x_ng`, whose code 0 then
            leaves out.

    Raises:
        SchemaError: the reference or a group has no cell, or a code is out of range.

    Source:
        Mann & Whitney 1947; equals `scipy.stats.mannwhitneyu(method="asymptotic")`.
    """
    code_n = np.array(code_n, np.int64)
    if code_n.size and code_n.max() > n_groups:
        message = f"found group code {code_n.max()}; codes go up to {n_groups}"
        raise SchemaError(message)
    parts = [(_by_row(x_ng), code_n)]
    if reference_ng is not None:
        code_n[code_n == REFERENCE] = -1
        reference = _by_row(reference_ng)
        parts.append((reference, np.zeros(reference.shape[0], np.int64)))
    n_k = np.zeros(n_groups + 1, np.int64)
    for _, code in parts:
        n_k += np.bincount(code[code >= 0], minlength=n_groups + 1)
    if not n_k.all():
        message = (
            f"group {int(np.argmin(n_k))} of 0..{n_groups} has no cell (0 is the reference); "
            "leave empty groups out"
        )
        raise SchemaError(message)
    n_genes = parts[0][0].shape[1]
    u_gk = np.zeros((n_genes, n_groups + 1))
    tie_gk = np.zeros_like(u_gk)
    ends = [matrix.indptr[:-1].astype(np.int64) for matrix, _ in parts]
    for start in range(0, n_genes, step := _genes_at_once(parts)):
        stop = min(start + step, n_genes)
        begin_g = np.zeros(stop - start + 1, np.int64)
        begins = [end.copy() for end in ends]
        for (matrix, code), begin, end in zip(parts, begins, ends, strict=True):
            _count(matrix.data, matrix.indices, matrix.indptr, code, begin, end, start, stop,
                   begin_g)  # fmt: skip
        np.cumsum(begin_g, out=begin_g)
        keys, cursor_g = np.empty(begin_g[-1], np.uint64), begin_g[:-1].copy()
        for (matrix, code), begin, end in zip(parts, begins, ends, strict=True):
            bits = matrix.data.view(np.uint32)
            _pack(bits, matrix.indices, code, begin, end, start, cursor_g, keys)
        for low, high in pairwise(begin_g):
            keys[low:high].sort()
        _walk_genes(keys, begin_g, n_k, u_gk[start:stop], tie_gk[start:stop])
    return RankSums(u_gk[:, 1:].T, tie_gk[:, 1:].T, n_k[1:], int(n_k[REFERENCE]))


def _by_row(x_ng: Any) -> sparse.csr_matrix:
    """Rows of float32 in the order of their columns, each stored once."""
    matrix = sparse.csr_matrix(x_ng, dtype=np.float32)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def _genes_at_once(parts: list[tuple[sparse.csr_matrix, np.ndarray]]) -> int:
    """Genes whose values are brought in column order together: an eighth, fewer if many values."""
    n_stored = sum(matrix.nnz for matrix, _ in parts)
    n_blocks = max(8, -(-n_stored // BLOCK))
    return max(1, -(-parts[0][0].shape[1] // n_blocks))


def ordered_keys(value: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Put value and group in one integer whose order is that of the values, then the groups.

    Args:
        value: float32.
        code: the group of each, at least 0.
    """
    bits = value.view(np.uint32)
    # IEEE 754: flip the sign bit of positive numbers, all bits of negative ones
    flip = np.where(bits >> np.uint32(31), np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    ordered = (bits ^ flip).astype(np.uint64)
    return (ordered << np.uint64(32)) | code.astype(np.uint64)


@numba.njit(cache=True, nogil=True)
def _count(data, indices, indptr, code_n, begin_n, end_n, start, stop, begin_g):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    """Count the values of each gene of a block and move each row's end behind the block."""
    for row in range(code_n.size):
        at, last = begin_n[row], indptr[row + 1]
        while at < last and indices[at] < stop:
            if code_n[row] >= 0 and data[at] != 0:
                begin_g[indices[at] - start + 1] += 1
            at += 1
        end_n[row] = at


@numba.njit(cache=True, nogil=True)
def _pack(bits, indices, code_n, begin_n, end_n, start, cursor_g, keys):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    """Put value and group in one integer whose order is that of the values, then the groups."""
    for row in range(code_n.size):
        if code_n[row] < 0:
            continue
        code = np.uint64(code_n[row])
        for at in range(begin_n[row], end_n[row]):
            value = bits[at]
            if value & np.uint32(0x7FFFFFFF) == 0:  # zero of either sign
                continue
            # IEEE 754: flip the sign bit of positive numbers, all bits of negative ones
            if value >> np.uint32(31):
                value = ~value
            else:
                value |= np.uint32(0x80000000)
            g = indices[at] - start
            keys[cursor_g[g]] = (np.uint64(value) << np.uint64(32)) | code
            cursor_g[g] += 1


@numba.njit(cache=True, nogil=True)
def _walk_genes(keys, begin_g, n_k, u_gk, tie_gk):  # noqa: ANN001, ANN202
    for g in range(begin_g.size - 1):
        walk(keys[begin_g[g] : begin_g[g + 1]], n_k, u_gk[g], tie_gk[g])


@numba.njit(cache=True, nogil=True)
def walk(keys, n_k, u_k, tie_k) -> None:  # noqa: ANN001
    """Add U and ties of one gene to u_k and tie_k, from its sorted keys without zeros."""
    n_groups = n_k.size
    stored = np.zeros(n_groups, np.int64)
    for key in keys:
        stored[key & 0xFFFFFFFF] += 1
    zeros_reference = n_k[0] - stored[0]
    below = 0.0  # reference cells below the current value
    ties_reference = 0.0
    at, passed_zero = 0, False
    while True:
        positive = at < keys.size and (keys[at] >> 32) > 0x80000000
        if not passed_zero and (at == keys.size or positive):
            passed_zero = True
            t = float(zeros_reference)
            ties_reference += t * t * t - t
            for k in range(1, n_groups):
                m = float(n_k[k] - stored[k])
                u_k[k] += m * (below + 0.5 * t)
                tie_k[k] += (m + t) ** 3 - (m + t) - (t * t * t - t)
            below += t
        if at == keys.size:
            break
        value = keys[at] >> 32
        t = 0.0
        while at < keys.size and keys[at] == value << 32:
            t += 1.0
            at += 1
        ties_reference += t * t * t - t
        while at < keys.size and keys[at] >> 32 == value:
            key, m = keys[at], 0.0
            while at < keys.size and keys[at] == key:
                m += 1.0
                at += 1
            k = key & 0xFFFFFFFF
            u_k[k] += m * (below + 0.5 * t)
            tie_k[k] += (m + t) ** 3 - (m + t) - (t * t * t - t)
        below += t
    for k in range(1, n_groups):
        tie_k[k] += ties_reference
