"""The mean of log1p of counts per ten thousand when counts are negative binomial."""

import numpy as np

TARGET_SUM = 1e4
_N_POINTS = 24
"""rates of each readout at which the mean is computed; between them it is interpolated"""
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
    low, high = log_share.min(0), log_share.max(0)
    width = np.maximum(high - low, 1e-6)
    points = low + np.linspace(0, 1, _N_POINTS)[:, None] * width
    values = np.mean([_at(np.exp(points) * size, theta_g, size) for size in library_l], axis=0)
    place = (log_share - low) / width * (_N_POINTS - 1)
    left = np.clip(place.astype(np.int64), 0, _N_POINTS - 2)
    part = place - left
    column = np.arange(share_cg.shape[1])
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
