"""Mean shift: the plain difference of means, as a baseline that ignores noise."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.effects import mean_effects
from perturbkit.grn.knockout_z import activity_sign


def mean_shift(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return an edge for each perturbation and readout, weighted by the difference of means.

    Args:
        screen: cells, or profiles of single perturbations.
        rng: not used.

    Source:
        The "MeanDifference" entry of the CausalBench challenge, arXiv 2308.15395.
    """
    effects = mean_effects(screen)
    score = effects.delta_pg * activity_sign(effects.kind_p)[:, None]
    return graph_of_scores(score, effects.sources, effects.readouts, name="mean_shift")


card = GrnCard(
    name="mean_shift",
    summary="difference of means from control; favours highly expressed targets",
    source="CausalBench challenge, arXiv 2308.15395",
    fn=mean_shift,
)
