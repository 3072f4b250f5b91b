"""What control against control looks like, and z-scores that are normal where nothing happens."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from perturbkit.data.null_scores import calibrated
from perturbkit.grn.contrast import Contrast
from perturbkit.grn.effects import MIN_DF, Effects, has_replicates

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


def null_of(contrast: Contrast, effects: Effects, rng: np.random.Generator) -> Null:
    """Score several matched subsets of the controls against the rest of the controls.

    Each subset has the size and the batches of one perturbation. Where `obs` names the guides of
    the controls, each control guide is scored against the others as well: guides differ by more
    than sampling, and that difference is what a perturbation's guides add to its effect.
    """
    g = len(effects.readouts)
    bins = _bins(effects.control_g)
    if contrast.is_control.sum() < 2 * MIN_DF or not has_replicates(contrast.rows):
        return Null(np.zeros((0, g)), np.ones(g), bins)
    delta, se = contrast.compare(matched_splits(contrast, rng))
    random = delta / se
    by_guide = guide_splits(contrast)
    if by_guide is None:
        return Null(random, np.ones(g), bins)
    delta, se = contrast.compare(by_guide)
    guided = delta / se
    shared = max(1.0, float(np.median(guided[:, effects.control_g > 0] ** 2)) / 0.4549)
    own = (GUIDE_DF * shared + (guided**2).sum(0)) / (GUIDE_DF + len(guided))
    inflation = np.sqrt(np.maximum(own, 1.0))
    return Null(np.concatenate([random, guided / inflation]), inflation, bins)


def matched_splits(contrast: Contrast, rng: np.random.Generator) -> sparse.csr_array:
    """Draw subsets of the controls, each like one perturbation in size and strata, [s, n]."""
    rows, stratum = contrast.rows, contrast.stratum_n
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


def guide_splits(contrast: Contrast) -> sparse.csr_array | None:
    """Return the cells of each control guide, [guides, n]; None with fewer than three guides."""
    rows = contrast.rows
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


def _bins(control_g: np.ndarray) -> np.ndarray:
    """Return groups of readouts of similar control mean; what is not expressed is the first."""
    expressed = control_g > 0
    if expressed.sum() < 40 * N_BINS:
        return np.zeros(len(control_g), np.int64)
    edges = np.quantile(control_g[expressed], np.linspace(0, 1, N_BINS + 1)[1:-1])
    return np.searchsorted(edges, control_g)


def calibrate(z_pg: np.ndarray, null: Null) -> np.ndarray:
    """Map scores so that those of the control splits become standard normal.

    Args:
        z_pg: effects in standard errors.
        null: the scores of the control splits.

    Returns:
        Calibrated z-scores [p, g]; without splits, only divided by the inflation.
    """
    scaled = z_pg / null.inflation_g
    return calibrated(scaled, null.z_sg, null.bin_g) if len(null.z_sg) else scaled
