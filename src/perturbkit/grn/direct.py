"""Direct effects: calibrated z-scores, indirect paths taken out, a probability for every edge."""

import numpy as np
from scipy.special import ndtr

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import bayesian_fdr, benjamini_hochberg, graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.contrast import Contrast
from perturbkit.grn.effects import Effects, effects_of_rows
from perturbkit.grn.expression import rows_of
from perturbkit.grn.knockout_z import activity_sign
from perturbkit.grn.null import calibrate, null_of
from perturbkit.grn.spike_slab import Carried, Posterior, RatePrior, regress

MISFIT = 0.3
"""Relative error allowed to what the paths over other perturbed genes predict."""
MAX_RATE = 0.45
"""No pair is likelier than this before its data are seen: a master regulator moves most genes over
others, and would be taken to regulate every one directly."""
MAX_LOSS = 1.5
"""A gene cannot lose more than its whole activity; more is noise."""
UNSEEN_LOSS = 0.4
"""Typical share of its activity that a gene loses under a regulator's perturbation."""
FULL_LOSS = 2.3
"""The log fold change of a knock-out's own activity."""


def direct(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return direct edges with a probability and the false discovery rate of the list to there.

    1. Each effect becomes a z-score against control-control splits of the same size and batches.
    2. Effects that others explain are taken out: if A lowers B by 60 % and B's loss changes C,
       60 % of that change under A is B's. For each readout this is a sparse regression on the
       perturbations, whose design is the share of each perturbed gene's activity that is lost;
       it is the inversion of the matrix of total effects, one column at a time, with noise.
    3. The rate is the largest of three: the mean probability that the edges so far are wrong, and
       the Benjamini-Hochberg rates of the total effect among all pairs and among those of its
       source, so that the many effects of some targets lend none to a target without.

    Edges start at perturbed targets only: what a gene without a perturbation regulates is not
    identified by these data. "Direct" means past no other gene that is perturbed and measured.

    Args:
        screen: cells, or profiles of single perturbations.
        rng: draws the control splits.

    Returns:
        Edges with `weight` (calibrated z-score times probability), `sign` (of the regulation),
        `probability`, `fdr`, `effect` (log fold change, or in the unit of the values) and
        `effect_fdr`, the rate of the total effect, direct or not.

    Source:
        inspre (Brown et al. 2023, arXiv 2206.01152) for the inverse of total effects; the noise
        model, the control splits and the probabilities are our own.
    """
    rows = rows_of(screen)
    contrast = Contrast(rows)
    effects = effects_of_rows(rows, contrast)
    z = calibrate(effects.z_pg, null_of(contrast, effects, rng))
    posterior = direct_effects(effects, z)
    p_values = 2 * ndtr(-np.abs(z))
    p_values[np.isnan(effects.delta_pg)] = np.nan
    own = effects.own_p
    p_values[own >= 0, own[own >= 0]] = np.nan
    probability = posterior.probability_kg
    by_source = np.stack([benjamini_hochberg(p) for p in p_values])
    by_null = np.fmax(benjamini_hochberg(p_values), by_source)
    rate = np.maximum(bayesian_fdr(probability), np.nan_to_num(by_null, nan=1.0))
    strength = probability * np.abs(z) * np.sign(posterior.mean_kg)
    return graph_of_scores(
        strength * activity_sign(effects.kind_p)[:, None],
        effects.sources,
        effects.readouts,
        name="direct",
        columns={
            "probability": probability.astype(np.float32),
            "fdr": rate.astype(np.float32),
            "effect": posterior.mean_kg.astype(np.float32),
            "effect_fdr": np.nan_to_num(by_null, nan=1.0).astype(np.float32),
        },
    )


def direct_effects(effects: Effects, z_pg: np.ndarray) -> Posterior:
    """Return the effect of each perturbed target that no other perturbed target carries.

    Args:
        effects: total effects.
        z_pg: their calibrated z-scores, which replace the standard errors.
    """
    size = np.abs(z_pg)
    nominal = np.abs(effects.z_pg)
    widened = np.divide(nominal, size, out=np.ones_like(size), where=size > 0)
    se = effects.se_pg * np.clip(widened, 1.0, 100.0)
    own = effects.own_p
    measured = own >= 0
    allowed = ~np.isnan(effects.delta_pg)
    allowed[measured, own[measured]] = False
    # the row in which a gene itself is perturbed says nothing of what regulates it
    se_used = se.copy()
    se_used[measured, own[measured]] = np.inf
    prior = RatePrior(most=MAX_RATE)
    total = regress(effects.delta_pg, se_used, np.eye(len(own)), allowed, prior=prior)
    lost, variance = lost_activity(effects, z_pg, total)
    carried = Carried.of(lost, misfit=MISFIT, x_variance_ik=variance)
    return regress(effects.delta_pg, se_used, lost, allowed, carried=carried, prior=prior)


def lost_activity(
    effects: Effects, z_pg: np.ndarray, total: Posterior
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each perturbed gene's own change that each perturbation causes, [i, k].

    One on the diagonal. A knock-out takes all of a gene's expression, whatever is left of its
    RNA; other kinds are measured by the change of the gene's own readout, where that is clear.

    Returns:
        The shares, and the variance of their errors. Where a gene's readout is too faint to show
        any loss, the variance is that of shares in general: how often the perturbation changes a
        readout times the squared size of what is lost then. A gene that is no readout carries
        nothing, and nothing is said of what it might: direct means past the genes measured.
    """
    p = len(effects.sources)
    lost = np.eye(p)
    own = effects.own_p
    variance = np.zeros((p, p))
    unseen = total.probability_kg.mean(1) * UNSEEN_LOSS**2
    for k in np.flatnonzero(own >= 0):
        seen = effects.delta_pg[k, own[k]]
        clear = abs(z_pg[k, own[k]]) > 3
        # a log fold change has no end: nine tenths gone counts as all
        whole = -FULL_LOSS if effects.is_log else -effects.control_g[own[k]]
        full = seen if clear and effects.kind_p[k] != "ko" else whole
        if abs(full) < 3 * float(np.nanmedian(effects.se_pg[:, own[k]])):
            variance[:, k] = unseen
            continue
        lost[:, k] = np.clip(total.mean_kg[:, own[k]] / full, -MAX_LOSS, MAX_LOSS)
        lost[np.abs(lost[:, k]) < 0.01, k] = 0.0
        variance[:, k] = np.minimum(total.variance_kg[:, own[k]] / full**2, MAX_LOSS**2)
        lost[k, k] = 1.0
    np.fill_diagonal(variance, 0.0)
    return lost, variance


card = GrnCard(
    name="direct",
    summary="direct effects against control-control splits, with sign, probability and FDR",
    source="own method after inspre, arXiv 2206.01152, and Carbonetto & Stephens 2012",
    fn=direct,
    calibrated=True,
)
