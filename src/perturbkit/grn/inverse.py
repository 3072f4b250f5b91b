"""Inverse: the direct effects whose paths add up to the total effects that were measured."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.effects import Effects, mean_effects
from perturbkit.grn.knockout_z import activity_sign

CLEAR = 3.0
"""Standard errors at which an effect on a perturbed gene counts as a path."""
QUIET = 2.0
"""Effects below so many standard errors are shrunk before the inversion."""


def inverse(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return direct effects by inverting the matrix of total effects.

    In a linear network with direct effects B, knocking out each gene in turn gives the total
    effects R with R = (I - B)^-1 up to the scale of each row, so B = I - D R^-1 with D such that
    the diagonal of B is zero. Noise is shrunk before, and R is kept away from singularity.

    Args:
        screen: cells, or profiles of single perturbations.
        rng: not used.

    Source:
        Brown et al. 2023, arXiv 2206.01152 (inspre), by shrinkage in place of its sparse program.
    """
    effects = mean_effects(screen)
    score = direct_by_inverse(effects)
    # in standard errors, so that readouts of different noise compare
    score /= np.median(effects.se_pg, 0)
    return graph_of_scores(
        score * activity_sign(effects.kind_p)[:, None], effects.sources, effects.readouts,
        name="inverse",
    )  # fmt: skip


def direct_by_inverse(effects: Effects) -> np.ndarray:
    """Return direct effects [p, g], in the unit of the total effects."""
    z = effects.z_pg
    shrunk = np.nan_to_num(effects.delta_pg) * z**2 / (z**2 + QUIET**2)
    p, own = len(effects.sources), effects.own_p
    share = np.eye(p)
    for k in np.flatnonzero(own >= 0):
        itself = shrunk[k, own[k]]
        if abs(z[k, own[k]]) > CLEAR:
            clear = np.abs(z[:, own[k]]) > CLEAR
            share[:, k] = np.where(clear, np.clip(shrunk[:, own[k]] / itself, -1.5, 1.5), 0.0)
            share[k, k] = 1.0
    # feedback as strong as the perturbation itself cannot be inverted: damp the whole
    damped = np.eye(p) + 0.9 * (share - np.eye(p))
    measured = own >= 0
    shrunk[measured, own[measured]] = 0.0
    return np.linalg.solve(damped + 0.05 * np.eye(p), shrunk)


card = GrnCard(
    name="inverse",
    summary="direct effects by inverting the matrix of total effects",
    source="after inspre, Brown et al. 2023, arXiv 2206.01152",
    fn=inverse,
)
