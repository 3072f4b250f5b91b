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
    spare = len(rows.code_n) - len(np.unique(rows.code_n))
    return spare >= MIN_DF and int((rows.code_n < 0).sum()) >= MIN_DF


def _effects_of_profiles(rows: Rows) -> Effects:
    """Effects of a few rows per condition, NaN allowed; the error is the spread over conditions."""
    x = dense(rows.x_ng).astype(np.float64)
    p = len(rows.sources)
    measured = ~np.isnan(x)
    values = np.where(measured, x, 0.0)
    member = sparse.csr_array(
        (np.ones(len(x)), (rows.code_n + 1, np.arange(len(x)))), shape=(p + 1, len(x))
    )
    count = member @ measured.astype(np.float64)
    mean = np.divide(member @ values, count, out=np.full(count.shape, np.nan), where=count > 0)
    perturbed = mean[1:]
    if rows.is_relative:
        centre = np.zeros(x.shape[1])
    else:
        # a lone control profile is noisier than the mean of many conditions that change little
        centre = _nan_mean(np.where(count[0] >= MIN_DF, mean[:1], mean))
    delta = perturbed - centre
    # every source's own knock-down would count as spread: leave it out
    own = rows.readouts.find(rows.sources)
    spread = delta.copy()
    spread[own >= 0, own[own >= 0]] = np.nan
    sd = np.sqrt(_nan_mean(spread**2))
    typical = sd[sd > 0]
    sd = np.maximum(sd, 1e-6 * float(np.median(typical)) if len(typical) else 1.0)
    n_p = np.bincount(rows.code_n + 1, minlength=p + 1)[1:]
    n_rows = np.where(count[1:] > 0, count[1:], 1.0)
    largest = float(np.median(n_rows))
    return Effects(
        rows.sources, rows.readouts, delta, sd * np.sqrt(largest / n_rows), n_p,
        np.nan_to_num(mean[0] if not rows.is_relative else centre), rows.kind_p,
    )  # fmt: skip


def _nan_mean(x_pg: np.ndarray) -> np.ndarray:
    """Return the mean over rows of what is measured; 0 where nothing is."""
    measured = ~np.isnan(x_pg)
    return np.where(measured, x_pg, 0).sum(0) / np.maximum(measured.sum(0), 1)
