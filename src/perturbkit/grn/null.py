"""What control against control looks like, and z-scores that are normal where nothing happens."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import ndtri

from perturbkit.grn.effects import MIN_DF, PRIOR_DF, Effects, usable_strata, without_shifts
from perturbkit.grn.expression import Rows, dense

N_SPLITS = 200
"""Matched control splits drawn; with 1,000 readouts they give 200,000 null scores."""
N_BINS = 4
"""Groups of readouts by control mean that share the shape of their null."""
GUIDE_DF = 10.0
"""Weight of the inflation all readouts share against each one's own, in guides."""


@dataclass(frozen=True, eq=False)
class Null:
    """The distribution of scores when nothing was perturbed."""

    z_sg: np.ndarray
    """scores of control splits, [splits, readouts], after division by `inflation_g`"""
    inflation_g: np.ndarray
    """how much wider than their standard error splits by guide are, at least 1"""
    bin_g: np.ndarray
    """group of each readout, by control mean"""


def null_of(rows: Rows, effects: Effects, rng: np.random.Generator) -> Null:
    """Score several matched subsets of the controls against the rest of the controls.

    Each subset has the size and the batches of one perturbation. Where `obs` names the guides of
    the controls, each control guide is scored against the others as well: guides differ by more
    than sampling, and that difference is what a perturbation's guides add to its effect.
    """
    g = len(rows.readouts)
    bins = _bins(effects.control_g)
    control = np.flatnonzero(rows.code_n < 0)
    is_cells = sparse.issparse(rows.x_ng) or not np.isnan(rows.x_ng).any()
    if len(control) < 2 * MIN_DF or not is_cells:
        return Null(np.zeros((0, g)), np.ones(g), bins)
    random = score_splits(rows, matched_splits(rows, rng), effects)
    by_guide = guide_splits(rows)
    if by_guide is None:
        return Null(random, np.ones(g), bins)
    guided = score_splits(rows, by_guide, effects)
    shared = max(1.0, float(np.median(guided[:, effects.control_g > 0] ** 2)) / 0.4549)
    own = (GUIDE_DF * shared + (guided**2).sum(0)) / (GUIDE_DF + len(guided))
    inflation = np.sqrt(np.maximum(own, 1.0))
    return Null(np.concatenate([random, guided / inflation]), inflation, bins)


def matched_splits(rows: Rows, rng: np.random.Generator) -> sparse.csr_array:
    """Draw subsets of the controls, each like one perturbation in size and strata, [s, n]."""
    stratum = usable_strata(rows)
    n_strata, p = int(stratum.max()) + 1, len(rows.sources)
    perturbed = rows.code_n >= 0
    count = np.bincount(
        rows.code_n[perturbed] * n_strata + stratum[perturbed], minlength=p * n_strata
    ).reshape(p, n_strata)
    controls = [np.flatnonzero((rows.code_n < 0) & (stratum == s)) for s in range(n_strata)]
    chosen, split = [], []
    rounds = [rng.permutation(p) for _ in range(-(-N_SPLITS // p))]
    for i, like in enumerate(np.concatenate(rounds)[:N_SPLITS]):
        for s in np.flatnonzero(count[like]):
            size = min(int(count[like, s]), len(controls[s]) // 2)
            chosen.append(rng.choice(controls[s], size, replace=False, shuffle=False))
            split.append(np.full(size, i))
    column, row = np.concatenate(chosen), np.concatenate(split)
    shape = (N_SPLITS, len(rows.code_n))
    return sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)


def guide_splits(rows: Rows) -> sparse.csr_array | None:
    """Return the cells of each control guide, [guides, n]; None with fewer than three guides."""
    if rows.guide_n is None:
        return None
    control = np.flatnonzero(rows.code_n < 0)
    _, code, size = np.unique(rows.guide_n[control], return_inverse=True, return_counts=True)
    usable = size >= MIN_DF
    if usable.sum() < 3:
        return None
    place = np.where(usable, np.cumsum(usable) - 1, -1)[code]
    kept = place >= 0
    shape = (int(usable.sum()), len(rows.code_n))
    ones = np.ones(int(kept.sum()), np.float32)
    return sparse.csr_array((ones, (place[kept], control[kept])), shape=shape)


def score_splits(rows: Rows, member_sn: sparse.csr_array, effects: Effects) -> np.ndarray:
    """Score subsets of the controls against the other controls, as perturbations are, [s, g]."""
    stratum = usable_strata(rows)
    n_splits, g = member_sn.shape[0], len(rows.readouts)
    n = np.asarray(member_sn.sum(1)).ravel()
    delta, within = np.zeros((n_splits, g)), np.zeros((n_splits, g))
    spare, n_controls = np.zeros(n_splits), 0
    variance = np.zeros(g)
    for s in range(int(stratum.max()) + 1):
        control = np.flatnonzero((rows.code_n < 0) & (stratum == s))
        if len(control) < 2:
            continue
        x, member = rows.x_ng[control], member_sn[:, control]
        squares = x.multiply(x).tocsr() if sparse.issparse(x) else x * x
        size = np.asarray(member.sum(1)).ravel()
        sums = dense(member @ x).astype(np.float64)
        total = np.asarray(x.sum(0), np.float64).ravel()
        square_total = np.asarray(squares.sum(0), np.float64).ravel()
        inside = np.maximum(size, 1)[:, None]
        rest = (total - sums) / np.maximum(len(control) - size, 1)[:, None]
        delta += (size / np.maximum(n, 1))[:, None] * (sums / inside - rest)
        within += dense(member @ squares) - sums**2 / inside
        spare += np.maximum(size - 1, 0)
        variance += np.maximum(square_total - total**2 / len(control), 0)
        n_controls += len(control)
    variance = variance / max(n_controls - int(stratum.max()) - 1, 1)
    floor = np.min(effects.se_pg**2 * np.maximum(effects.n_p, 1)[:, None], 0) * 1e-3
    variance = np.maximum(variance, floor)
    own = np.maximum(within, 0) / np.maximum(spare, 1)[:, None]
    delta = without_shifts(delta, own, rows, n)
    df = np.maximum(n - 1, 0)[:, None]
    moderated = (own * df + PRIOR_DF * variance) / (df + PRIOR_DF)
    se = np.sqrt(moderated / np.maximum(n, 1)[:, None]
                 + variance / np.maximum(n_controls - n, 1)[:, None])  # fmt: skip
    return delta / se


def _bins(control_g: np.ndarray) -> np.ndarray:
    """Return groups of readouts of similar control mean; what is not expressed is the first."""
    expressed = control_g > 0
    if expressed.sum() < 40 * N_BINS:
        return np.zeros(len(control_g), np.int64)
    edges = np.quantile(control_g[expressed], np.linspace(0, 1, N_BINS + 1)[1:-1])
    return np.searchsorted(edges, control_g)


def calibrate(z_pg: np.ndarray, null: Null) -> np.ndarray:
    """Map scores so that those of the control splits become standard normal.

    A monotone map for each group of readouts and each tail, linear between quantiles of the null
    and of slope one ratio beyond the last. A score is never made larger than it was.

    Args:
        z_pg: effects in standard errors.
        null: the scores of the control splits.

    Returns:
        Calibrated z-scores [p, g].
    """
    scaled = z_pg / null.inflation_g
    if not len(null.z_sg):
        return scaled
    result = scaled.copy()
    for b in np.unique(null.bin_g):
        columns = null.bin_g == b
        reference = null.z_sg[:, columns].ravel()
        for sign in (1.0, -1.0):
            size = _tail_map(sign * reference, np.abs(scaled[:, columns]))
            block = scaled[:, columns]
            result[:, columns] = np.where(
                sign * block > 0, sign * size, result[:, columns]
            )  # fmt: skip
    return result


def _tail_map(reference: np.ndarray, size_pg: np.ndarray) -> np.ndarray:
    """Map sizes by one tail of a null: the size at upper probability q becomes the normal one."""
    n = len(reference)
    deepest = max(20.0 / n, 1e-5)
    upper = np.geomspace(0.4, deepest, 25) if deepest < 0.4 else np.array([0.4])
    at = np.maximum.accumulate(np.quantile(reference, 1 - upper))
    normal = -ndtri(upper)
    ratio = np.minimum(normal / np.maximum(at, 1e-9), 1.0)
    # beyond the last quantile the last ratio holds
    return size_pg * np.interp(size_pg, at, ratio)
