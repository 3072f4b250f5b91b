"""The mask's posterior in closed form: which total effects are direct, and how surely.

M x E are the direct effects of `data.direct_effects`; M is one for few of them. What it cannot see
are paths over regulators that were not perturbed: these are allowed for here.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from perturbkit.data import direct_effects as shared
from perturbkit.data.false_discovery import bayesian_fdr, overall_and_by_source
from perturbkit.data.recalibration import Recalibration
from perturbkit.data.spike_slab import Posterior, RatePrior
from perturbkit.models.gpo_vae.evidence import Evidence

PRIOR = RatePrior(counts_itself=False)
"""an edge is no evidence for the rates that it is judged by"""
HIDDEN = 0.2
"""share of the regulators of the screen's genes that were not perturbed: an assumption; paths
over these look like direct effects"""
LEAST_SHARE = 0.3
"""least chance of being direct that an effect's size alone gives it"""
RECALIBRATION = Recalibration(c=0.33, a=0.99, b=0.56)
"""coordinate ascent takes the rates it has learned, and each mediator's share, for certain; learned
on planted screens of seeds 10 to 29 (`python -m benchmarks.vae --only recalibrate`)"""


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
    found, allowed = uncalibrated(evidence)
    probability = RECALIBRATION.of(found.probability_kg)
    p_value = np.where(allowed, 2 * ndtr(-np.abs(evidence.z_pg)), np.nan)
    rate = np.fmax(bayesian_fdr(probability), overall_and_by_source(p_value))
    return Direct(probability, found.mean_kg, np.where(allowed, rate, 1.0))


def uncalibrated(evidence: Evidence) -> tuple[Posterior, np.ndarray]:
    """Return the posterior of direct effects, paths over hidden regulators allowed for.

    Returns:
        The posterior, and which pairs are any but a target's own readout.
    """
    n = len(evidence.sources)
    total = shared.TotalEffects(
        evidence.change_pg, evidence.error_pg, evidence.own_p, evidence.whole_p,
        np.full(n, -shared.FULL_LOSS),
    )  # fmt: skip
    result = shared.direct_effects(total, PRIOR, uncertain_loss=False)
    found = result.posterior
    share = shown_direct(found.probability_kg, found.mean_kg, result.mediated_pg)
    return replace(found, probability_kg=found.probability_kg * share), result.allowed_pg


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
