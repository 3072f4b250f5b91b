"""Log fold changes of summed counts: observed over expected, and the shift all readouts share."""

import numpy as np

PRIOR_COUNTS = 0.5
"""added to observed and expected sums, so that an absent gene has a finite fold change"""
STRATUM_COUNTS = 20.0
"""expected counts at which a stratum's own control level counts as much as the overall one"""


def log_ratio(observed: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the log fold change and the variance that counting alone gives it.

    The variance lies between that under no change (1 / expected) and that of what was seen
    (1 / observed), at their geometric mean: neither an absent nor a flooded gene is overrated.
    """
    seen, due = observed + PRIOR_COUNTS, expected + PRIOR_COUNTS
    return np.log(seen / due), 1 / np.sqrt(seen * due)


def stratum_level(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return by how much controls of a stratum exceed the overall level, as far as they say."""
    return (observed + STRATUM_COUNTS) / (expected + STRATUM_COUNTS)


def without_common_shift(delta_sg: np.ndarray, se_sg: np.ndarray) -> np.ndarray:
    """Take out the fold change that all readouts share.

    Counts are divided by a total; when a few large genes change, all others move alike against
    them. That shift is the centre of the bulk: a weighted median refined with Tukey's weights.
    """
    precision = 1 / se_sg**2
    shift = np.empty(len(delta_sg))
    for i, (delta, w, se) in enumerate(zip(delta_sg, precision, se_sg, strict=True)):
        order = np.argsort(delta)
        share = np.cumsum(w[order])
        at = delta[order[np.searchsorted(share, share[-1] / 2)]]
        for _ in range(5):
            rest = (delta - at) / se
            scale = max(1.4826 * float(np.median(np.abs(rest))), 1.0)
            tukey = w * np.maximum(1 - (rest / (4.685 * scale)) ** 2, 0) ** 2
            at = float(tukey @ delta / max(float(tukey.sum()), 1e-300))
        shift[i] = at
    return delta_sg - shift[:, None]
