"""The effect of each perturbation on each readout, with its error."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.grn.contrast import Contrast
from perturbkit.grn.expression import Rows, dense, rows_of

MIN_DF = 10
"""Fewer spare rows than this cannot give a variance: the spread across conditions does."""


@dataclass(frozen=True, eq=False)
class Effects:
    """Differences from control, with standard errors.

    Log fold changes where the screen holds counts, else in the unit of the values.
    """

    sources: Vocabulary
    """perturbed targets, p"""
    readouts: Vocabulary
    """readouts, g"""
    delta_pg: np.ndarray
    """perturbed rows against matched controls; NaN where not measured"""
    se_pg: np.ndarray
    """standard error of `delta_pg`, positive"""
    n_p: np.ndarray
    """rows of each perturbation"""
    control_g: np.ndarray
    """mean of the controls, log1p counts per 10 k where the screen holds counts"""
    kind_p: np.ndarray
    """how each source was perturbed"""

    is_log: bool = False
    """whether `delta_pg` are log fold changes, so that a full loss is minus infinity"""

    @property
    def z_pg(self) -> np.ndarray:
        """Effects in standard errors; 0 where nothing was measured."""
        return np.nan_to_num(self.delta_pg / self.se_pg)

    @property
    def own_p(self) -> np.ndarray:
        """Position of each source among the readouts, -1 where it is not measured."""
        return self.readouts.find(self.sources)


def mean_effects(screen: Screen) -> Effects:
    """Return the effect of each single perturbation as a difference of means.

    Counts are scaled to 10,000 a cell and logged; controls are those of the context and batch.
    """
    rows = replace(rows_of(screen), counts_ng=None)
    return effects_of_rows(rows, Contrast(rows))


def effects_of_rows(rows: Rows, contrast: Contrast) -> Effects:
    """Return the effect of each source.

    Cells are compared with the controls of the same context and batch: by log fold changes of
    counts, by differences of means of other values. Where there are too few rows for a variance
    (one profile per condition), the error is the robust spread of each readout over conditions.
    """
    if not has_replicates(rows):
        return _effects_of_profiles(rows)
    delta, se = contrast.compare(contrast.perturbed)
    n_p = np.bincount(rows.code_n[rows.code_n >= 0], minlength=len(rows.sources))
    control = np.asarray(rows.x_ng[rows.code_n < 0].mean(0), np.float64).ravel()
    return Effects(rows.sources, rows.readouts, delta, se, n_p, control, rows.kind_p,
                   rows.counts_ng is not None)  # fmt: skip


def has_replicates(rows: Rows) -> bool:
    """Whether rows suffice for variances within conditions: cells, or many complete replicates."""
    if not sparse.issparse(rows.x_ng) and np.isnan(rows.x_ng).any():
        return False
    n_controls = int((rows.code_n < 0).sum())
    n_perturbed = len(rows.code_n) - n_controls
    return n_controls >= MIN_DF and n_perturbed >= 2 * len(rows.sources)


def _effects_of_profiles(rows: Rows) -> Effects:
    """Effects of a few rows per condition, NaN allowed; the error is the spread over conditions.

    Where targets are perturbed in several ways (knocked out and knocked down), the z-scores are
    added, each weighted by how much that way changes the target's own readout.
    """
    perturbed = rows.code_n >= 0
    kinds = np.unique(rows.kind_n[perturbed].astype(str))
    parts = [_profiles_of_kind(rows, ~perturbed | (rows.kind_n == kind)) for kind in kinds]
    n_p = np.bincount(rows.code_n[perturbed], minlength=len(rows.sources))
    own = rows.readouts.find(rows.sources)
    measured = own >= 0
    moved = [float(np.nanmedian(np.abs(d[measured, own[measured]]))) if measured.any() else 1.0
             for d, _, _ in parts]  # fmt: skip
    # where no way shows in the targets' own readouts, all count alike
    strength = np.array(moved) / max(moved) if max(moved) > 0 else np.ones(len(moved))
    strongest = int(np.argmax(strength))
    _, se, centre = parts[strongest]
    z = np.stack([delta / error for delta, error, _ in parts])
    weight = np.where(np.isnan(z), 0.0, strength[:, None, None])
    total = np.sqrt((weight**2).sum(0))
    pooled = np.divide((weight * np.nan_to_num(z)).sum(0), total,
                       out=np.full(se.shape, np.nan), where=total > 0)  # fmt: skip
    return Effects(rows.sources, rows.readouts, pooled * se, se, n_p, centre, rows.kind_p)


def _profiles_of_kind(rows: Rows, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return effects [p, g], errors [p, g] and the level they start from [g] of some rows."""
    x = dense(rows.x_ng[kept]).astype(np.float64)
    code, p = rows.code_n[kept], len(rows.sources)
    measured = ~np.isnan(x)
    shape = (p + 1, len(x))
    member = sparse.csr_array((np.ones(len(x)), (code + 1, np.arange(len(x)))), shape=shape)
    count = member @ measured.astype(np.float64)
    sums = member @ np.where(measured, x, 0.0)
    mean = np.divide(sums, count, out=np.full(count.shape, np.nan), where=count > 0)
    # every source's own change would count as spread: leave it out
    own = rows.readouts.find(rows.sources)
    others = mean.copy()
    others[1:][own >= 0, own[own >= 0]] = np.nan
    if rows.is_relative:
        centre = np.zeros(x.shape[1])
    else:
        # a lone control profile is noisier than the mean of many conditions that change little
        centre = np.where(count[0] >= MIN_DF, np.nan_to_num(mean[0]), _nan_mean(others))
    sd = np.sqrt(_nan_mean((others[1:] - centre) ** 2))
    typical = sd[sd > 0]
    sd = np.maximum(sd, 1e-6 * float(np.median(typical)) if len(typical) else 1.0)
    n_rows = np.where(count[1:] > 0, count[1:], 1.0)
    se = sd * np.sqrt(float(np.median(n_rows)) / n_rows)
    return mean[1:] - centre, se, centre


def _nan_mean(x_pg: np.ndarray) -> np.ndarray:
    """Return the mean over rows of what is measured; 0 where nothing is."""
    measured = ~np.isnan(x_pg)
    return np.where(measured, x_pg, 0).sum(0) / np.maximum(measured.sum(0), 1)
