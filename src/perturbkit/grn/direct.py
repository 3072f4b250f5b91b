"""Direct effects: calibrated z-scores, indirect paths taken out, a probability for every edge."""

import numpy as np
from scipy.special import ndtr

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.data.direct_effects import FULL_LOSS, TotalEffects, direct_effects
from perturbkit.data.false_discovery import bayesian_fdr, overall_and_by_source
from perturbkit.data.recalibration import Recalibration
from perturbkit.data.spike_slab import RatePrior
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.contrast import Contrast
from perturbkit.grn.effects import Effects, effects_of_rows
from perturbkit.grn.expression import Rows, rows_of
from perturbkit.grn.knockout_z import activity_sign
from perturbkit.grn.null import calibrate, null_of

MAX_RATE = 0.45
"""No pair is likelier than this before its data are seen: a master regulator moves most genes over
others, and would be taken to regulate every one directly."""
RECALIBRATION = Recalibration(c=0.80, a=1.30, b=0.35)
"""coordinate ascent takes what it has learned for certain; learned on planted screens of seeds 10
to 29 (`python -m benchmarks.explain --only recalibrate`)"""


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
    effects, z = calibrated_effects(rows_of(screen), rng)
    result = direct_effects(total_effects(effects, z), RatePrior(most=MAX_RATE))
    found = result.posterior
    probability = RECALIBRATION.of(found.probability_kg)
    by_null = overall_and_by_source(np.where(result.allowed_pg, 2 * ndtr(-np.abs(z)), np.nan))
    rate = np.maximum(bayesian_fdr(probability), np.nan_to_num(by_null, nan=1.0))
    strength = probability * np.abs(z) * np.sign(found.mean_kg)
    return graph_of_scores(
        strength * activity_sign(effects.kind_p)[:, None],
        effects.sources,
        effects.readouts,
        name="direct",
        columns={
            "probability": probability.astype(np.float32),
            "fdr": rate.astype(np.float32),
            "effect": found.mean_kg.astype(np.float32),
            "effect_fdr": np.nan_to_num(by_null, nan=1.0).astype(np.float32),
        },
    )


def calibrated_effects(rows: Rows, rng: np.random.Generator) -> tuple[Effects, np.ndarray]:
    """Return total effects, and their scores against control-control splits, [p, g]."""
    contrast = Contrast(rows)
    effects = effects_of_rows(rows, contrast)
    return effects, calibrate(effects.z_pg, null_of(contrast, effects, rng))


def total_effects(effects: Effects, z_pg: np.ndarray) -> TotalEffects:
    """Return total effects whose errors are such that their scores are the calibrated ones.

    A knock-out takes all of a gene's activity, whatever is left of its RNA.
    """
    size, nominal = np.abs(z_pg), np.abs(effects.z_pg)
    widened = np.divide(nominal, size, out=np.ones_like(size), where=size > 0)
    own = effects.own_p
    full = -FULL_LOSS if effects.is_log else -effects.control_g[np.maximum(own, 0)]
    return TotalEffects(
        effects.delta_pg, effects.se_pg * np.clip(widened, 1.0, 100.0), own,
        effects.kind_p == "ko", np.broadcast_to(full, own.shape),
    )  # fmt: skip


card = GrnCard(
    name="direct",
    summary="direct effects against control-control splits, with sign, probability and FDR",
    source="own method after inspre, arXiv 2206.01152, and Carbonetto & Stephens 2012",
    fn=direct,
    calibrated=True,
)
