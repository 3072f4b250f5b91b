"""Wasserstein distance and Mann-Whitney test of many pairs of samples against sorted controls."""

import math

import numba
import numpy as np


@numba.njit(cache=True)
def count_below(sorted_r: np.ndarray, value: float, start: int) -> int:
    """Return how many values are below `value`, which at least `start` are; bisection."""
    low, high = start, len(sorted_r)
    while low < high:
        middle = (low + high) // 2
        if sorted_r[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True)
def count_through(sorted_r: np.ndarray, value: float, start: int) -> int:
    """Return how many values are not above `value`, which at least `start` are; bisection."""
    low, high = start, len(sorted_r)
    while low < high:
        middle = (low + high) // 2
        if sorted_r[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True)
def compare(
    sample: np.ndarray, sorted_r: np.ndarray, prefix_r: np.ndarray, ties_r: float
) -> tuple[float, float, float]:
    """Return Wasserstein-1 distance, U and tie sum of a small sorted sample against a large one.

    Between two neighbouring values of the small sample its distribution function is constant, so
    the large one's crosses it once, at a known value: sums of the large sample's first values give
    the area on either side without a walk through them.

    Args:
        sample: the small sample, sorted.
        sorted_r: the large sample, sorted.
        prefix_r: sums of its first 0, 1, ... values, [r + 1].
        ties_r: its own tie sum.

    Source:
        Vallender 1974: the distance is the area between the distribution functions.
    """
    n, m = len(sample), len(sorted_r)
    area = u = 0.0
    ties = ties_r
    i, through = 0, 0
    while i < n:
        value = sample[i]
        j = i
        while j < n and sample[j] == value:
            j += 1
        below = count_below(sorted_r, value, through)
        if i == 0:
            area += (value * below - prefix_r[below]) / m
        else:
            # from the last value, at which `through` of the large sample were passed, to this one
            last = sample[i - 1]
            needed = math.ceil(i * m / n - 1e-9)
            if needed <= through:
                k, crossing = through, last
            elif needed > below:
                k, crossing = below, value
            else:
                k, crossing = needed - 1, sorted_r[needed - 1]
            level = i / n
            area += level * (crossing - last) - _area(prefix_r, through, k, last, crossing) / m
            area += _area(prefix_r, k, below, crossing, value) / m - level * (value - crossing)
        through = count_through(sorted_r, value, below)
        equal, tied = float(through - below), float(through - below + j - i)
        u += (j - i) * (below + 0.5 * equal)
        ties += tied * (tied * tied - 1.0) - equal * (equal * equal - 1.0)
        i = j
    area += (prefix_r[m] - prefix_r[through] - sample[n - 1] * (m - through)) / m
    return max(area, 0.0), u, ties


@numba.njit(cache=True)
def _area(prefix_r: np.ndarray, k0: int, k1: int, low: float, high: float) -> float:
    """Integrate the number of values up to x from low (k0 of them) to high (k1)."""
    return high * k1 - low * k0 - (prefix_r[k1] - prefix_r[k0])


@numba.njit(cache=True)
def tie_sum(sorted_r: np.ndarray) -> float:
    """Return the sum of t^3 - t over groups of t equal values."""
    total, i = 0.0, 0
    while i < len(sorted_r):
        j = i
        while j < len(sorted_r) and sorted_r[j] == sorted_r[i]:
            j += 1
        t = float(j - i)
        total += t * (t * t - 1.0)
        i = j
    return total


@numba.njit(cache=True)
def two_sided_p(u: float, n: int, m: int, ties: float) -> float:
    """Return the normal approximation's two-sided p-value, with ties and continuity correction.

    Source:
        Mann & Whitney 1947, doi:10.1214/aoms/1177730491; as scipy's `mannwhitneyu`.
    """
    total = n + m
    if total < 2:
        return 1.0
    variance = n * m / 12.0 * (total + 1 - ties / (total * (total - 1.0)))
    if variance <= 0:
        return 1.0
    larger = max(u, n * m - u)
    z = (larger - 0.5 * n * m - 0.5) / math.sqrt(variance)
    return min(1.0, math.erfc(z / math.sqrt(2.0)))


@numba.njit(cache=True)
def compare_pairs(
    values_gn: np.ndarray, start_p: np.ndarray, control_gr: np.ndarray,
    source_e: np.ndarray, target_e: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return Wasserstein distance and Mann-Whitney p-value of each edge.

    Args:
        values_gn: readouts by perturbed cells, cells grouped by source.
        start_p: where each source's cells start, and the end, [p + 1].
        control_gr: readouts by control cells, each row sorted.
        source_e: position of each edge's source.
        target_e: position of each edge's readout.
    """
    g, m = control_gr.shape
    prefix, ties = np.zeros((g, m + 1)), np.zeros(g)
    for j in range(g):
        prefix[j, 1:] = np.cumsum(control_gr[j])
        ties[j] = tie_sum(control_gr[j])
    distance = np.full(len(source_e), np.nan)
    p_value = np.full(len(source_e), np.nan)
    for e in range(len(source_e)):
        first, last, j = start_p[source_e[e]], start_p[source_e[e] + 1], target_e[e]
        n = int(last - first)
        if n < 1 or m < 1:
            continue
        sample = np.sort(values_gn[j, first:last])
        distance[e], u, tied = compare(sample, control_gr[j], prefix[j], float(ties[j]))
        p_value[e] = two_sided_p(u, n, m, tied)
    return distance, p_value
