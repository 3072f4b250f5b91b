"""Knock-out z-score: each perturbation's effect on each readout, in standard errors."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.effects import mean_effects


def knockout_z(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return an edge for each perturbation and readout, weighted by the size of the z-score.

    The sign is the regulator's: a readout that falls when its regulator is lost is activated.

    Args:
        screen: cells, or profiles of single perturbations.
        rng: not used.

    Source:
        Marbach et al. 2010, doi:10.1073/pnas.0913357107 (DREAM challenges); for cells, the
        difference of means of log1p counts per 10 k over its moderated standard error.
    """
    effects = mean_effects(screen)
    score = effects.z_pg * activity_sign(effects.kind_p)[:, None]
    return graph_of_scores(score, effects.sources, effects.readouts, name="knockout_z")


def activity_sign(kind_p: np.ndarray) -> np.ndarray:
    """Return what each kind of perturbation does to its target: -1 lowers, +1 raises."""
    raises = np.isin(kind_p.astype(str), ["crispra", "oe", "cytokine"])
    return np.where(raises, 1.0, -1.0)


card = GrnCard(
    name="knockout_z",
    summary="effect of each perturbation in standard errors; direct and indirect alike",
    source="Marbach et al. 2010, doi:10.1073/pnas.0913357107",
    fn=knockout_z,
)
