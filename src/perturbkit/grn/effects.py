"""The effect of each perturbation on each readout, its error, and how control splits behave."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.grn.expression import Rows, dense, rows_of

PRIOR_DF = 10.0
"""Weight of the controls' variance against a perturbation's own, in cells."""
MIN_DF = 10
"""Fewer spare rows than this cannot give a variance: the spread across conditions does."""
MAX_GROUP_VALUES = 100_000_000
"""Above this many group means, rows are compared across batches to bound memory."""


@dataclass(frozen=True, eq=False)
class Effects:
    """Differences from control in the unit of the values, with standard errors."""

    sources: Vocabulary
    """perturbed targets, p"""
    readouts: Vocabulary
    """readouts, g"""
    delta_pg: np.ndarray
    """mean of the perturbed rows minus the mean of matched controls; NaN where not measured"""
    se_pg: np.ndarray
    """standard error of `delta_pg`, positive"""
    n_p: np.ndarray
    """rows of each perturbation"""
    control_g: np.ndarray
    """mean of the controls"""
    kind_p: np.ndarray
    """how each source was perturbed"""

    @property
    def z_pg(self) -> np.ndarray:
        """Effects in standard errors; 0 where nothing was measured."""
        return np.nan_to_num(self.delta_pg / self.se_pg)

    @property
    def own_p(self) -> np.ndarray:
        """Position of each source among the readouts, -1 where it is not measured."""
        return self.readouts.find(self.sources)


@dataclass(frozen=True, eq=False)
class Moments:
    """Counts, sums and sums of squares by group, where a group is a stratum and a condition."""

    n_sc: np.ndarray
    """rows, [strata, conditions]; condition 0 is the control"""
    sum_scg: np.ndarray
    """sums of the values"""
    square_scg: np.ndarray
    """sums of their squares"""


def effects_of(screen: Screen) -> Effects:
    """Return the effect of each single perturbation against controls of its context and batch."""
    return effects_of_rows(rows_of(screen))


def effects_of_rows(rows: Rows) -> Effects:
    """Return the effect of each source.

    Cells are compared with the controls of the same context and batch; the shift that cell depth
    and composition put on all genes is taken out. Where there are too few rows for a variance
    (one profile per condition), the error is the robust spread of each readout across conditions.
    """
    x = rows.x_ng
    if not sparse.issparse(x) and np.isnan(x).any():
        return _effects_of_profiles(rows)
    spare = len(rows.code_n) - len(np.unique(rows.code_n))
    n_controls = int((rows.code_n < 0).sum())
    if spare < MIN_DF or n_controls < MIN_DF:
        return _effects_of_profiles(rows)
    moments = moments_of(rows)
    delta, variance, n_p = _matched_difference(moments)
    control_mean, control_var, n_control = _control(moments, rows)
    delta = without_shifts(delta, variance, rows, n_p)
    n = np.maximum(n_p, 1)[:, None]
    own = np.where(n > 1, variance, control_var) * np.maximum(n - 1, 0)
    moderated = (own + PRIOR_DF * control_var) / (np.maximum(n - 1, 0) + PRIOR_DF)
    se = np.sqrt(moderated / n + control_var / n_control)
    return Effects(
        rows.sources, rows.readouts, delta, se, n_p, control_mean, rows.kind_p
    )  # fmt: skip


def moments_of(rows: Rows) -> Moments:
    """Sum values and squares of each stratum and condition in one sparse product each."""
    n_conditions, g = len(rows.sources) + 1, len(rows.readouts)
    stratum = usable_strata(rows)
    if (stratum.max() + 1) * n_conditions * g > MAX_GROUP_VALUES:
        stratum = np.zeros_like(stratum)
    n_strata = int(stratum.max()) + 1
    group = stratum * n_conditions + rows.code_n + 1
    n_rows, n_groups = len(group), n_strata * n_conditions
    member = sparse.csr_array(
        (np.ones(n_rows, np.float32), (group, np.arange(n_rows))), shape=(n_groups, n_rows)
    )
    x = rows.x_ng
    squares = x.multiply(x).tocsr() if sparse.issparse(x) else x * x
    shape = (n_strata, n_conditions, g)
    return Moments(
        np.bincount(group, minlength=n_groups).reshape(n_strata, n_conditions),
        dense(member @ x).astype(np.float64).reshape(shape),
        dense(member @ squares).astype(np.float64).reshape(shape),
    )


def usable_strata(rows: Rows, min_controls: int = 5) -> np.ndarray:
    """Return strata codes; those with fewer than `min_controls` controls are merged into one."""
    n_controls = np.bincount(
        rows.stratum_n[rows.code_n < 0], minlength=int(rows.stratum_n.max()) + 1
    )
    small = n_controls < min_controls
    if small.sum() == 0 or n_controls[small].sum() < min_controls:
        # a stratum without controls borrows those of the largest
        code = np.where(small, int(np.argmax(n_controls)), np.arange(len(small)))
    else:
        code = np.where(small, int(np.flatnonzero(small)[0]), np.arange(len(small)))
    return np.unique(code[rows.stratum_n], return_inverse=True)[1]


def _matched_difference(m: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean differences [p, g], variances within groups [p, g] and rows [p]."""
    n = m.n_sc[:, 1:]
    control = m.sum_scg[:, 0] / np.maximum(m.n_sc[:, 0], 1)[:, None]
    n_p = n.sum(0)
    share = n / np.maximum(n_p, 1)
    mean = m.sum_scg[:, 1:].sum(0) / np.maximum(n_p, 1)[:, None]
    delta = mean - np.einsum("sp,sg->pg", share, control)
    between = (m.sum_scg[:, 1:] ** 2 / np.maximum(n, 1)[:, :, None]).sum(0)
    spare = n_p - (n > 0).sum(0)
    within = m.square_scg[:, 1:].sum(0) - between
    variance = np.maximum(within, 0) / np.maximum(spare, 1)[:, None]
    return delta, variance, n_p


def _control(m: Moments, rows: Rows) -> tuple[np.ndarray, np.ndarray, int]:
    """Return mean and variance of the controls and their number.

    The variance is at least what one count in one control cell would give, so that a readout no
    control cell shows is not infinitely surprising elsewhere.
    """
    n, sums = m.n_sc[:, 0], m.sum_scg[:, 0]
    total = int(n.sum())
    between = (sums**2 / np.maximum(n, 1)[:, None]).sum(0)
    spare = max(total - int((n > 0).sum()), 1)
    variance = np.maximum(m.square_scg[:, 0].sum(0) - between, 0) / spare
    values = rows.x_ng.data if sparse.issparse(rows.x_ng) else rows.x_ng.ravel()
    values = values[values != 0][:1_000_000]
    floor = float(np.median(np.abs(values))) ** 2 / total if len(values) else 1.0
    return sums.sum(0) / total, np.maximum(variance, floor), total


def without_shifts(
    delta_pg: np.ndarray, variance_pg: np.ndarray, rows: Rows, n_p: np.ndarray
) -> np.ndarray:
    """Take out of each perturbation's effects what it does to all readouts alike.

    Two things move every gene of a cell: its depth, since log1p of few counts is biased, and a
    change of the total, since counts are divided by it. Their patterns over genes are known from
    the controls (the slope on log depth, and x / (1 + x) at counts per 10 k); how much of each a
    perturbation shows is fitted robustly, by least squares with Tukey weights.
    """
    if rows.log_depth_n is None:
        return delta_pg
    control = np.flatnonzero(rows.code_n < 0)
    x = dense(rows.x_ng[control[:2000]]).astype(np.float64)
    depth = rows.log_depth_n[control[:2000]]
    depth = depth - depth.mean()
    slope = depth @ (x - x.mean(0)) / max(float(depth @ depth), 1e-12)
    pattern = np.stack([np.mean(-np.expm1(-x), 0), slope], 1)
    scale = np.sqrt((pattern**2).mean(0))
    pattern = pattern[:, scale > 0] / scale[scale > 0]
    shown = x.mean(0) > 0
    sd = np.sqrt(np.maximum(variance_pg, 1e-12) / np.maximum(n_p, 1)[:, None])
    result = delta_pg.copy()
    for p in range(len(delta_pg)):
        usable = shown & (variance_pg[p] > 0)
        if usable.sum() >= 20:
            amount = _robust_fit(pattern[usable] / sd[p, usable, None],
                                 delta_pg[p, usable] / sd[p, usable])  # fmt: skip
            result[p] -= pattern @ amount
    return result


def _robust_fit(a_gk: np.ndarray, b_g: np.ndarray) -> np.ndarray:
    """Return least-squares coefficients with Tukey's bisquare weights, lightly ridged."""
    ridge = 1e-3 * np.eye(a_gk.shape[1]) * float((a_gk**2).mean()) * len(b_g)
    # many genes may respond: start from the weighted median of the ratios to the first pattern
    ratio = b_g / np.where(a_gk[:, 0] == 0, np.inf, a_gk[:, 0])
    order = np.argsort(ratio)
    share = np.cumsum(np.abs(a_gk[order, 0]))
    amount = np.zeros(a_gk.shape[1])
    amount[0] = ratio[order[np.searchsorted(share, share[-1] / 2)]]
    for _ in range(10):
        rest = b_g - a_gk @ amount
        scale = max(1.4826 * float(np.median(np.abs(rest))), 1e-9)
        weight = np.maximum(1 - (rest / (4.685 * scale)) ** 2, 0) ** 2
        weighted = a_gk * weight[:, None]
        amount = np.linalg.solve(weighted.T @ a_gk + ridge, weighted.T @ b_g)
    return amount


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
