"""The mask's posterior in closed form: which total effects are direct, and how surely.

A perturbation that lowers a gene's activity by a share x passes on x times that gene's own
effects. So the total effects are a regression on the shares, one row per perturbation, whose
coefficients M x E are the direct effects; M is one for few of them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtr

from perturbkit.data.ranksum import benjamini_hochberg
from perturbkit.models.gpo_vae.evidence import Evidence

N_SWEEPS = 40
TOLERANCE = 1e-3
SLABS = (0.03, 0.3, 2.0)
"""variances of direct effects, in squares of the typical clear effect"""
HUB_PRIOR = 1.0
"""weight of the mean rate of edges against a source's own, in edges; networks have hubs"""
TARGET_PRIOR = 30.0
"""weight of the mean rate of edges against a target's own"""
MISFIT = 0.3
"""relative error allowed to what paths over other perturbed genes predict"""
CLEAR = 4.0
"""standard errors at which an effect is seen for certain"""
FULL_LOSS = 2.3
"""log fold change that counts as the whole of a gene's activity"""
HIDDEN = 0.2
"""share of the regulators of the screen's genes that were not perturbed: an assumption; paths
over these look like direct effects"""
LEAST_SHARE = 0.3
"""least chance of being direct that an effect's size alone gives it"""
TEMPER = 0.8
"""chosen on planted screens, seeds 1 and 2 (docs/benchmarks/vae.md has others)"""


@dataclass(frozen=True, eq=False)
class Direct:
    """Direct effects of the perturbed genes, [p, g] each."""

    probability: np.ndarray
    """that the effect is there and direct"""
    effect: np.ndarray
    """posterior mean of the change under the perturbation"""
    fdr: np.ndarray
    """largest of three rates of false discoveries in the list of all edges at least as sure"""


def direct_effects(evidence: Evidence) -> Direct:
    """Return direct effects, their probabilities and the rate of false discoveries.

    The rate of the list down to an edge is the largest of the mean probability of error in it,
    and of the Benjamini-Hochberg rates of the total effect among all pairs and within its source.
    """
    own = evidence.own_p
    allowed = np.ones(evidence.change_pg.shape, bool)
    measured = np.flatnonzero(own >= 0)
    allowed[measured, own[measured]] = False
    error = np.where(allowed, evidence.error_pg, np.inf)
    unit = np.eye(len(own))
    _, total_effect = regress(evidence.change_pg, error, unit, allowed)
    shares = lost_activity(evidence, total_effect)
    found, effect = regress(evidence.change_pg, error, shares, allowed)
    mediated = (shares * ~np.eye(len(own), dtype=bool)) @ effect
    probability = tempered(found * shown_direct(found, effect, mediated))
    p = np.where(allowed, 2 * ndtr(-np.abs(evidence.z_pg)), 1.0)
    overall = benjamini_hochberg(p.reshape(1, -1)).reshape(p.shape)
    by_null = np.fmax(overall, benjamini_hochberg(p))
    rate = np.fmax(running_error(probability), by_null)
    return Direct(probability, effect, np.where(allowed, rate, 1.0))


def lost_activity(evidence: Evidence, total_effect: np.ndarray) -> np.ndarray:
    """Return the share of gene k's own change that perturbation i causes, [i, k]; 1 for i = k."""
    p, own = len(evidence.sources), evidence.own_p
    shares = np.eye(p)
    for k in np.flatnonzero(own >= 0):
        seen, clear = evidence.change_pg[k, own[k]], abs(evidence.z_pg[k, own[k]]) > 3
        full = seen if clear and not evidence.whole_p[k] else -FULL_LOSS
        if abs(full) < 3 * float(np.median(evidence.error_pg[:, own[k]])):
            continue
        shares[:, k] = np.clip(total_effect[:, own[k]] / full, -1.5, 1.5)
        shares[np.abs(shares[:, k]) < 0.01, k] = 0.0
        shares[k, k] = 1.0
    return shares


def regress(
    y_ig: np.ndarray, se_ig: np.ndarray, x_ik: np.ndarray, allowed_kg: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return q(M = 1) and the mean of M x E for y = x (M x E) + noise, by coordinate ascent.

    Args:
        y_ig: total effects of perturbation i on readout g.
        se_ig: standard errors; infinite leaves one out.
        x_ik: share of gene k's activity that perturbation i takes.
        allowed_kg: which coefficients may differ from zero.

    Source:
        Carbonetto & Stephens 2012, doi:10.1214/12-BA703, with a mixture of slabs and rates of
        edges that are learned for each source and each target.
    """
    variance, y = se_ig**2, np.where(np.isfinite(se_ig), y_ig, 0.0)
    clear = np.abs(y / se_ig)[np.isfinite(se_ig)] > CLEAR
    sizes = np.abs(y)[np.isfinite(se_ig)][clear]
    typical = float(np.median(sizes)) if sizes.size > 5 else 1.0
    slabs = typical**2 * np.array(SLABS)
    weight = np.full(len(slabs), 1 / len(slabs))
    start = float(np.clip(clear.mean(), 1 / max(allowed_kg.sum(), 2), 0.3))
    rate = np.where(allowed_kg, start, 0.0)
    mean, probability = np.zeros(allowed_kg.shape), np.zeros(allowed_kg.shape)
    fitted = np.zeros_like(y)
    rows = [np.flatnonzero(x_ik[:, k]) for k in range(x_ik.shape[1])]
    carried = x_ik**2 * ~np.eye(*x_ik.shape, dtype=bool)
    for sweep in range(N_SWEEPS):
        before, shares = probability.copy(), np.zeros(len(slabs))
        with np.errstate(divide="ignore"):
            precision = 1 / (variance + MISFIT**2 * (carried @ mean**2))
        for k, row in enumerate(rows):
            x = x_ik[row, k]
            a = (x**2) @ precision[row]
            b = x @ (precision[row] * (y[row] - fitted[row])) + a * mean[k]
            width = 1 / (a + 1 / slabs[:, None])
            log_part = np.log(weight)[:, None] + 0.5 * np.log(width / slabs[:, None])
            log_part = log_part + 0.5 * width * b**2
            top = log_part.max(0)
            part = np.exp(log_part - top)
            with np.errstate(divide="ignore"):
                odds = logit(rate[k]) + top + np.log(part.sum(0))
            probability[k] = expit(odds)
            part *= probability[k] / part.sum(0)
            new = (part * width * b).sum(0)
            fitted[row] += x[:, None] * (new - mean[k])
            mean[k] = new
            shares += part.sum(1)
        rate = _edge_rates(probability, allowed_kg)
        weight = (shares + 1) / (shares.sum() + len(slabs))
        if sweep > 2 and np.abs(probability - before).max() < TOLERANCE:
            break
    return probability, mean


def _edge_rates(probability: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return the prior chance of each edge: overall rate x source's factor x target's factor.

    The factors come from the other edges alone: an edge is no evidence for itself.
    """
    n = max(int(allowed.sum()), 2)
    overall = max(float(probability.sum()) / n, 1 / n)
    due_k = overall * allowed.sum(1)
    others = probability.sum(1, keepdims=True) - probability
    factor_kg = (others + HUB_PRIOR) / (due_k + HUB_PRIOR)[:, None]
    due_g = overall * ((probability.sum(1) + HUB_PRIOR) / (due_k + HUB_PRIOR)) @ allowed
    others = probability.sum(0) - probability
    factor_kg *= (others + TARGET_PRIOR) / (due_g + TARGET_PRIOR)
    return np.where(allowed, np.minimum(overall * factor_kg, 0.8), 0.0)


def shown_direct(found: np.ndarray, effect: np.ndarray, mediated: np.ndarray) -> np.ndarray:
    """Return the chance that an effect of its size takes no path over a regulator not perturbed.

    Paths over perturbed genes are known, and with them how large mediated effects are. Those over
    others are taken to be as large, and HIDDEN / (1 - HIDDEN) times as many.

    Args:
        found: probability of an effect that no perturbed gene carries, [p, g].
        effect: its posterior mean.
        mediated: what perturbed genes carry of the total effect.
    """
    size = np.abs(np.divide(effect, found, out=np.zeros_like(effect), where=found > 0.01))
    ends = np.r_[0.0, np.geomspace(0.02, 4.0, 22), np.inf]
    is_edge = found > 0.5
    amount = np.histogram(size[is_edge], ends, weights=found[is_edge])[0]
    passed = np.histogram(np.abs(mediated), ends)[0] * HIDDEN / (1 - HIDDEN)
    passed[: np.argmax(amount > 0)] = 0  # too small to be seen, mediated or not
    window = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
    amount, passed = (np.convolve(v, window, "same") for v in (amount, passed))
    share = np.clip(1 - passed / np.maximum(amount, 1e-9), LEAST_SHARE, 1.0)
    # larger effects are directer, and too few of a size say nothing
    share = np.maximum.accumulate(np.where(amount > 5, share, LEAST_SHARE))
    return share[np.clip(np.searchsorted(ends, size, side="right") - 1, 0, len(share) - 1)]


def tempered(probability: np.ndarray) -> np.ndarray:
    """Return probabilities with their log odds times TEMPER.

    Coordinate ascent takes the rates it has learned, and each mediator's share, for certain, so
    its odds are too long.
    """
    return expit(TEMPER * logit(np.clip(probability, 1e-12, 1 - 1e-12)))


def running_error(probability: np.ndarray) -> np.ndarray:
    """Return for each edge the mean chance of error among all at least as likely."""
    flat = probability.ravel()
    order = np.argsort(-flat, kind="stable")
    rate = np.empty(len(flat))
    rate[order] = np.cumsum(1 - flat[order]) / np.arange(1, len(flat) + 1)
    return rate.reshape(probability.shape)
