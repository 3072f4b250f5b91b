"""How much of what is learned on top of a model is kept: only what clearly helps elsewhere.

An addition that was fitted on few noisy conditions can predict new ones worse than nothing added.
Conditions that neither the model nor the addition was fitted on say how much of it to take.
"""

import numpy as np
from scipy.special import stdtrit

FEWEST = 3
"""conditions below which nothing can be said to help"""
_SURE = 0.975
"""one-sided level of the t test that calls a gain clear"""


def helps(before_c: np.ndarray, after_c: np.ndarray) -> bool:
    """Say whether errors of the same conditions clearly fell, by a paired t test.

    Args:
        before_c: squared error of each condition without the addition.
        after_c: with it.
    """
    gain = before_c - after_c
    gain = gain[np.isfinite(gain)]
    if len(gain) < FEWEST:
        return False
    needed = stdtrit(len(gain) - 1, _SURE)
    return bool(gain.mean() > needed * gain.std(ddof=1) / np.sqrt(len(gain)))


def mean_square(error_cg: np.ndarray) -> np.ndarray:
    """Return the mean square of each row over what is measured, NaN where nothing is, [c]."""
    known = ~np.isnan(error_cg)
    total = np.square(np.where(known, error_cg, 0), dtype=np.float64).sum(1)
    return np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)


def share_to_add(missed_cg: np.ndarray, added_cg: np.ndarray) -> float:
    """Return the weight within 0 and 1 of an addition that best predicts what is missed.

    Each condition is judged by the weight that the others choose; unless their errors fall
    clearly, the weight is 0, and nothing is ever added beyond what was learned.

    Args:
        missed_cg: measured minus predicted, NaN where not measured.
        added_cg: what the addition says of it.
    """
    known = ~np.isnan(missed_cg) & ~np.isnan(added_cg)
    missed, added = np.where(known, missed_cg, 0), np.where(known, added_cg, 0)
    along = np.einsum("cg,cg->c", missed, added, dtype=np.float64)
    power = np.einsum("cg,cg->c", added, added, dtype=np.float64)
    measured = known.any(1)
    if not power.sum() > 0:
        return 0.0
    left_out = np.maximum(power.sum() - power, 1e-30)
    share_c = np.clip((along.sum() - along) / left_out, 0, 1)
    before = np.square(missed, dtype=np.float64).sum(1)
    after = before - 2 * share_c * along + share_c**2 * power
    if not helps(before[measured], after[measured]):
        return 0.0
    return float(np.clip(along.sum() / power.sum(), 0, 1))
