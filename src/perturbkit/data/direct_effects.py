"""Direct effects from total ones: what other perturbed genes carry is taken out."""

from dataclasses import dataclass

import numpy as np

from perturbkit.data.spike_slab import Carried, Posterior, RatePrior, regress

MISFIT = 0.3
"""relative error allowed to what the paths over other perturbed genes predict"""
MAX_LOSS = 1.5
"""a gene cannot lose more than its whole activity; more is noise"""
UNSEEN_LOSS = 0.4
"""typical share of its activity that a gene loses under a regulator's perturbation"""
FULL_LOSS = 2.3
"""the log fold change that counts as the loss of a gene's whole activity: it has no end, and nine
tenths gone counts as all"""
CLEAR = 3.0
"""standard errors at which a gene's own loss is taken as it was measured"""


@dataclass(frozen=True, eq=False)
class TotalEffects:
    """What each perturbed target does to each readout in all, over whatever paths."""

    change_pg: np.ndarray
    """change under the perturbation; NaN where not measured"""
    error_pg: np.ndarray
    """standard errors, such that what does nothing has normal scores"""
    own_p: np.ndarray
    """position of each target among the readouts, -1 where it is not measured"""
    whole_p: np.ndarray
    """whether the perturbation takes all of its target's activity, whatever is left of its RNA"""
    full_loss_p: np.ndarray
    """change of a target's own readout that is the loss of all of its activity"""


@dataclass(frozen=True, eq=False)
class DirectEffects:
    """Effects past all other genes that are perturbed and measured."""

    posterior: Posterior
    allowed_pg: np.ndarray
    """pairs that are measured and not a target's own readout"""
    mediated_pg: np.ndarray
    """what other perturbed genes carry of each total effect"""


def direct_effects(
    total: TotalEffects, prior: RatePrior, *, uncertain_loss: bool = True
) -> DirectEffects:
    """Return the effect of each perturbed target that no other perturbed target carries.

    A perturbation that lowers a gene's activity by a share x passes on x times that gene's own
    effects. So the total effects are a regression on the shares, one row per perturbation, whose
    coefficients are the direct effects; for each readout it is the inversion of the matrix of
    total effects, one column at a time, with noise.

    Args:
        total: total effects.
        prior: of the rates of direct effects.
        uncertain_loss: whether errors of the shares count as noise of what they carry.
    """
    own = total.own_p
    measured = own >= 0
    allowed = ~np.isnan(total.change_pg)
    allowed[measured, own[measured]] = False
    # the row in which a gene itself is perturbed says nothing of what regulates it
    error = np.where(allowed, total.error_pg, np.inf)
    alone = regress(total.change_pg, error, np.eye(len(own)), allowed, prior=prior)
    lost, variance = lost_activity(total, alone)
    carried = Carried.of(lost, misfit=MISFIT, x_variance_ik=variance if uncertain_loss else None)
    found = regress(total.change_pg, error, lost, allowed, carried=carried, prior=prior)
    others = lost * ~np.eye(len(own), dtype=bool)
    return DirectEffects(found, allowed, others @ found.mean_kg)


def lost_activity(total: TotalEffects, alone: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each perturbed gene's own change that each perturbation causes, [i, k].

    One on the diagonal. What a perturbation leaves of its target is measured by the change of the
    target's own readout, where that is clear, unless the perturbation takes all.

    Args:
        total: total effects.
        alone: what is believed of them, each for itself.

    Returns:
        The shares, and the variance of their errors. Where a gene's readout is too faint to show
        any loss, the variance is that of shares in general: how often the perturbation changes a
        readout times the squared size of what is lost then. A gene that is no readout carries
        nothing, and nothing is said of what it might: direct means past the genes measured.
    """
    own, p = total.own_p, len(total.own_p)
    lost, variance = np.eye(p), np.zeros((p, p))
    unseen = alone.probability_kg.mean(1) * UNSEEN_LOSS**2
    for k in np.flatnonzero(own >= 0):
        seen = total.change_pg[k, own[k]]
        clear = abs(seen) > CLEAR * total.error_pg[k, own[k]]
        full = seen if clear and not total.whole_p[k] else total.full_loss_p[k]
        if abs(full) < 3 * float(np.nanmedian(total.error_pg[:, own[k]])):
            variance[:, k] = unseen
            continue
        lost[:, k] = np.clip(alone.mean_kg[:, own[k]] / full, -MAX_LOSS, MAX_LOSS)
        lost[np.abs(lost[:, k]) < 0.01, k] = 0.0
        variance[:, k] = np.minimum(alone.variance_kg[:, own[k]] / full**2, MAX_LOSS**2)
        lost[k, k] = 1.0
    np.fill_diagonal(variance, 0.0)
    return lost, variance
