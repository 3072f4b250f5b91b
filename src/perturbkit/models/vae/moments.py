"""The mean of log1p of counts per ten thousand when counts are negative binomial."""

import numpy as np

TARGET_SUM = 1e4
_N_POINTS = 24
"""rates of each readout at which the mean is computed; between them it is interpolated"""
MOST_FOLDS = 4.0
"""largest log fold change that a mean is turned into"""
_LARGEST = 200.0
"""expected counts beyond which the sum over counts gives way to a series"""


def mean_log1p(share_cg: np.ndarray, theta_g: np.ndarray, library_l: np.ndarray) -> np.ndarray:
    """Return E log1p(1e4 x / l) for x ~ NB(l share, theta), averaged over libraries, [c, g].

    Args:
        share_cg: share of each readout in a cell's counts.
        theta_g: inverse dispersion.
        library_l: totals of cells, all equally likely.
    """
    log_share = np.log(np.maximum(share_cg, 1e-12))
    points, values = _tabulated((log_share.min(0), log_share.max(0)), theta_g, library_l)
    return _between(log_share, points, values)


def share_of_mean(
    mean_cg: np.ndarray, share_g: np.ndarray, theta_g: np.ndarray, library_l: np.ndarray
) -> np.ndarray:
    """Return the shares whose `mean_log1p` exceeds that of `share_g` by so much, [c, g].

    Args:
        mean_cg: differences of mean log1p of counts per ten thousand.
        share_g: where they start from.
        theta_g: inverse dispersion.
        library_l: totals of cells, all equally likely.
    """
    log_share = np.log(np.maximum(share_g, 1e-12))
    reach = MOST_FOLDS * np.ones_like(log_share)
    points, values = _tabulated((log_share - reach, log_share + reach), theta_g, library_l)
    wanted = mean_cg + _between(log_share[None], points, values)
    return np.exp(np.stack([
        np.interp(wanted[:, g], values[:, g], points[:, g]) for g in range(len(share_g))
    ], axis=1))  # fmt: skip


def _tabulated(
    ends: tuple[np.ndarray, np.ndarray], theta_g: np.ndarray, library_l: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log shares between the ends and the means there, [t, g] each."""
    low, high = ends
    width = np.maximum(high - low, 1e-6)
    points = low + np.linspace(0, 1, _N_POINTS)[:, None] * width
    return points, np.mean([_at(np.exp(points) * size, theta_g, size) for size in library_l], 0)


def _between(log_share: np.ndarray, points: np.ndarray, values: np.ndarray) -> np.ndarray:
    low, width = points[0], points[-1] - points[0]
    place = (log_share - low) / width * (_N_POINTS - 1)
    left = np.clip(place.astype(np.int64), 0, _N_POINTS - 2)
    part = place - left
    column = np.arange(log_share.shape[1])
    return values[left, column] * (1 - part) + values[left + 1, column] * part


def _at(mean_tg: np.ndarray, theta_g: np.ndarray, library: float) -> np.ndarray:
    """Return the expectation at some means, [t, g]."""
    scale = TARGET_SUM / library
    variance = mean_tg + mean_tg**2 / theta_g
    result = np.log1p(mean_tg * scale)
    result -= 0.5 * variance * (scale / (1 + mean_tg * scale)) ** 2  # second order, many counts
    few = mean_tg < _LARGEST
    if not few.any():
        return result
    mean = mean_tg[few]
    theta = np.broadcast_to(theta_g, mean_tg.shape)[few]
    spread = np.sqrt(variance[few])
    # log of the chance of no count, by a form that is exact for large theta too
    chance = np.exp(-theta * np.log1p(mean / theta))
    odds = mean / (mean + theta)
    total, rest = np.zeros_like(mean), 1.0 - chance
    n_most = int(np.ceil((mean + 8 * spread).max())) + 10
    for x in range(1, min(n_most, 4000)):
        chance = chance * odds * (x - 1 + theta) / x
        total += chance * np.log1p(x * scale)
        rest -= chance
        if x > 20 and x % 20 == 0 and float(np.abs(rest).max()) < 1e-6:
            break
    result[few] = total
    return result
