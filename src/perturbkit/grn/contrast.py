"""Groups of cells against the controls of their batches: differences and their errors."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from perturbkit.data.log_ratios import log_ratio, stratum_level, without_common_shift
from perturbkit.grn.expression import Rows, dense
from perturbkit.grn.fold_change import CountModel, count_model, own_factor, sums_of

PRIOR_DF = 10.0
"""Weight of the controls' variance against a group's own, in cells."""
MIN_CONTROLS = 5
"""Strata with fewer controls are compared with the controls of others."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """Compares any groups of a screen's cells with the controls that are not in the group."""

    rows: Rows

    @cached_property
    def stratum_n(self) -> np.ndarray:
        """Code of each row's context and batch; those with few controls are merged into one."""
        code = self.rows.stratum_n
        n_controls = np.bincount(code[self.is_control], minlength=int(code.max()) + 1)
        small = n_controls < MIN_CONTROLS
        # those that have too few even together borrow the controls of the largest
        poor = n_controls[small].sum() < MIN_CONTROLS
        home = int(np.argmax(n_controls)) if poor else int(np.argmax(small))
        return np.unique(np.where(small, home, np.arange(len(small)))[code], return_inverse=True)[1]

    @cached_property
    def is_control(self) -> np.ndarray:
        """Whether each row is a control."""
        return self.rows.code_n < 0

    @cached_property
    def counts(self) -> CountModel:
        """The count model, fitted to the controls."""
        return count_model(self.rows.counts_ng, np.asarray(self.rows.log_depth_n), self.is_control)

    @property
    def perturbed(self) -> sparse.csr_array:
        """The cells of each source, [p, n]."""
        row = np.flatnonzero(~self.is_control)
        shape = (len(self.rows.sources), len(self.rows.code_n))
        ones = np.ones(len(row), np.float32)
        return sparse.csr_array((ones, (self.rows.code_n[row], row)), shape=shape)

    def compare(self, member_sn: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Return difference and standard error of each group and readout, [s, g] each.

        For counts the difference is the log fold change, without the shift that all readouts
        share; for other values the difference of means.

        Args:
            member_sn: ones where a cell belongs to a group.
        """
        if self.rows.counts_ng is None:
            return self._difference(member_sn)
        delta, se = self._fold_change(member_sn)
        return without_common_shift(delta, se), se

    def _strata(self, member_sn: sparse.csr_array):  # noqa: ANN202  (a generator of arrays)
        """Yield for each stratum: its controls, members of the groups, those that are controls."""
        for s in range(int(self.stratum_n.max()) + 1):
            inside = self.stratum_n == s
            control = inside & self.is_control
            yield (sparse.csr_array(control[None].astype(np.float32)),
                   _only(member_sn, inside), _only(member_sn, control))  # fmt: skip

    def _fold_change(self, member_sn: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        model = self.counts
        shape = (member_sn.shape[0], len(self.rows.readouts))
        observed, expected, reference = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for control, group, shared in self._strata(member_sn):
            seen, due = sums_of(model, control)
            seen_shared, due_shared = sums_of(model, shared)
            rest, rest_due = seen - seen_shared, due - due_shared
            level = stratum_level(rest, rest_due)
            seen_group, due_group = sums_of(model, group)
            observed += seen_group
            expected += due_group * level
            reference += (due_group * level) ** 2 / np.maximum(rest, 1.0)
        reference = np.divide(reference, expected**2, out=np.ones(shape), where=expected > 0)
        delta, counting = log_ratio(observed, expected)
        ratio = np.divide(observed, expected, out=np.ones(shape), where=expected > 0)
        factor = own_factor(model, member_sn, expected, ratio)
        return delta, np.sqrt(factor * counting + model.factor_g * reference)

    def _difference(self, member_sn: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        x = self.rows.x_ng
        squares = x.multiply(x).tocsr() if sparse.issparse(x) else x * x
        n_groups, g = member_sn.shape[0], len(self.rows.readouts)
        n = np.asarray(member_sn.sum(1)).ravel()
        delta, within = np.zeros((n_groups, g)), np.zeros((n_groups, g))
        spare, variance, spare_control = np.zeros(n_groups), np.zeros(g), 0.0
        reference = np.zeros(n_groups)
        for control, group, shared in self._strata(member_sn):
            n_control, n_group, n_shared = (np.asarray(m.sum(1)).ravel()
                                            for m in (control, group, shared))  # fmt: skip
            sums = dense(group @ x).astype(np.float64)
            total = dense(control @ x).astype(np.float64)
            n_rest = np.maximum(n_control - n_shared, 1)
            rest = (total - dense(shared @ x)) / n_rest[:, None]
            share = n_group / np.maximum(n, 1)
            mean = sums / np.maximum(n_group, 1)[:, None]
            delta += share[:, None] * (mean - rest)
            within += dense(group @ squares) - sums * mean
            spare += np.maximum(n_group - 1, 0)
            reference += share**2 / n_rest
            variance += (dense(control @ squares) - total**2 / max(n_control[0], 1)).ravel()
            spare_control += max(float(n_control[0]) - 1, 0.0)
        variance = np.maximum(variance / max(spare_control, 1.0), self._least_variance)
        moderated = (np.maximum(within, 0) + PRIOR_DF * variance) / (spare + PRIOR_DF)[:, None]
        inside = np.maximum(n, 1)[:, None]
        return delta, np.sqrt(moderated / inside + variance * reference[:, None])

    @cached_property
    def _least_variance(self) -> float:
        """The variance if one control showed a readout: what none shows is not impossible."""
        x = self.rows.x_ng
        values = x.data if sparse.issparse(x) else x.ravel()
        values = np.abs(values[values != 0][:1_000_000])
        n_control = max(int(self.is_control.sum()), 1)
        return float(np.median(values)) ** 2 / n_control if len(values) else 1.0


def _only(member_sn: sparse.csr_array, kept_n: np.ndarray) -> sparse.csr_array:
    """Return the memberships of some cells only."""
    keep = kept_n[member_sn.indices]
    counts = np.add.reduceat(np.r_[keep, False], np.minimum(member_sn.indptr[:-1], len(keep)))
    counts = np.where(np.diff(member_sn.indptr) > 0, counts, 0)
    indptr = np.r_[0, np.cumsum(counts)]
    return sparse.csr_array(
        (member_sn.data[keep], member_sn.indices[keep], indptr), shape=member_sn.shape
    )
