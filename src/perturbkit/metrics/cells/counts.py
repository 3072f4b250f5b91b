"""What the scores of 2026 take from raw counts: bulk profiles, their noise, mean shares."""

import numpy as np
from scipy import sparse

from perturbkit.metrics.cells.pair import Cells

BULK_TOTAL = 5e4
"""A bulk profile is log1p of each gene's share of the group's counts, times this."""
MILLION = 1e6
ROWS = 32
"""Cells whose leave-one-out profiles are held at a time; few enough to stay in the cache."""


def count_sums(cells: Cells) -> np.ndarray:
    """Sum of the counts of each group by gene, the control's first, float64 [k, g]."""
    if "count_sums" not in cells.cache:
        cells.cache["count_sums"] = _group_sums(cells, cells.counts_ng)
    return cells.cache["count_sums"]


def mean_cpm(cells: Cells) -> np.ndarray:
    """Mean over each group's cells of counts per million, float64 [k, g]; NaN for no cells."""
    if "mean_cpm" not in cells.cache:
        counts = sparse.csr_matrix(cells.counts_ng)
        library = np.asarray(counts.sum(1, dtype=np.float64)).ravel()
        scale = np.divide(MILLION, library, out=np.zeros_like(library), where=library > 0)
        data = counts.data * np.repeat(scale, np.diff(counts.indptr))
        shares = sparse.csr_matrix((data, counts.indices, counts.indptr), counts.shape)
        n_k = np.bincount(cells.code_n[cells.code_n >= 0], minlength=cells.n_groups + 1)
        n_k = np.where(n_k > 0, n_k, np.nan)
        cells.cache["mean_cpm"] = _group_sums(cells, shares) / n_k[:, None]
    return cells.cache["mean_cpm"]


def bulk_shares(cells: Cells) -> np.ndarray:
    """Share of each gene in the counts of each group, float64 [k, g]; 0 for no counts."""
    sums = count_sums(cells)
    total = sums.sum(1, keepdims=True)
    return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)


def bulk_profiles(cells: Cells) -> np.ndarray:
    """Log bulk profile of each group, the control's first, float64 [k, g]."""
    if "bulk_profiles" not in cells.cache:
        cells.cache["bulk_profiles"] = np.log1p(BULK_TOTAL * bulk_shares(cells))
    return cells.cache["bulk_profiles"]


def bulk_noise(cells: Cells) -> np.ndarray:
    """Delete-one jackknife variance of each group's bulk profile, summed over genes, [k]."""
    if "bulk_noise" not in cells.cache:
        counts = sparse.csr_matrix(cells.counts_ng)
        groups = range(cells.n_groups + 1)
        noise = [jackknife(counts[cells.rows(k)]) for k in groups]
        cells.cache["bulk_noise"] = np.array(noise)
    return cells.cache["bulk_noise"]


def jackknife(counts_ng: sparse.csr_matrix) -> float:
    """Variance of one group's log bulk profile, summed over genes.

    Each cell is left out in turn: (n - 1) / n times the summed squared deviations of the n
    profiles. Work grows with cells times genes, because leaving a cell out moves every share.

    Args:
        counts_ng: counts of the group's cells.

    Returns:
        The variance; 0 with fewer than two cells or no counts: nothing is then subtracted.

    Source:
        Efron & Stein 1981, doi:10.1214/aos/1176345462; Virtual Cell Challenge 2026.
    """
    n = counts_ng.shape[0]
    sums = np.asarray(counts_ng.sum(0, dtype=np.float64)).ravel()
    total = sums.sum()
    if n < 2 or total <= 0:
        return 0.0
    rest = total - np.asarray(counts_ng.sum(1, dtype=np.float64)).ravel()
    whole = np.log1p(BULK_TOTAL / total * sums)
    first, second = np.zeros(len(sums)), np.zeros(len(sums))
    for start in range(0, n, ROWS):
        left_out = counts_ng[start : start + ROWS].toarray().astype(np.float64)
        others = rest[start : start + ROWS, None]
        share = np.divide(sums - left_out, others, out=np.zeros_like(left_out), where=others > 0)
        # taken from the whole profile, so that the squares below lose no digits
        deviation = np.log1p(BULK_TOTAL * share) - whole
        first += deviation.sum(0)
        second += np.einsum("ng,ng->g", deviation, deviation)
    return max((n - 1) / n * float((second - np.square(first) / n).sum()), 0.0)


def _group_sums(cells: Cells, x_ng: sparse.csr_matrix) -> np.ndarray:
    rows = np.flatnonzero(cells.code_n >= 0)
    shape = (cells.n_groups + 1, len(cells.code_n))
    member = sparse.csr_matrix((np.ones(len(rows)), (cells.code_n[rows], rows)), shape)
    return np.asarray((member @ x_ng).todense(), np.float64)
