"""Scores mapped so that those of a null, where nothing was perturbed, become standard normal."""

import numpy as np
from scipy.special import ndtri


def calibrated(z_pg: np.ndarray, null_sg: np.ndarray, bin_g: np.ndarray) -> np.ndarray:
    """Return scores mapped by each tail of the null; none is made larger than it was.

    A monotone map for each group of readouts and each tail, linear between quantiles of the null
    and of slope one ratio beyond the last: few counts cannot fall far, so the tails differ.

    Args:
        z_pg: effects in standard errors.
        null_sg: the same of groups in which nothing was perturbed.
        bin_g: group of each readout; those of one group share the shape of their null.
    """
    result = z_pg.copy()
    for b in np.unique(bin_g):
        columns = bin_g == b
        reference, block = null_sg[:, columns].ravel(), z_pg[:, columns]
        for sign in (1.0, -1.0):
            size = tail_map(sign * reference, np.abs(block))
            result[:, columns] = np.where(sign * block > 0, sign * size, result[:, columns])
    return result


def tail_map(reference: np.ndarray, size_pg: np.ndarray) -> np.ndarray:
    """Map sizes by one tail of a null: the size at upper probability q becomes the normal one."""
    deepest = max(20.0 / reference.size, 1e-5)
    upper = np.geomspace(0.4, deepest, 25) if deepest < 0.4 else np.array([0.4])
    at = np.maximum.accumulate(np.quantile(reference, 1 - upper))
    normal = -ndtri(upper)
    ratio = np.minimum(normal / np.maximum(at, 1e-9), 1.0)
    # beyond the last quantile the last ratio holds
    return size_pg * np.interp(size_pg, at, ratio)
