"""Fold-change z-score: each effect's log fold change in standard errors, from the counts."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.contrast import Contrast
from perturbkit.grn.effects import effects_of_rows
from perturbkit.grn.expression import rows_of
from perturbkit.grn.knockout_z import activity_sign


def fold_change_z(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return an edge for each perturbation and readout, weighted by its fold change's z-score.

    Where the screen does not hold counts this is the knock-out z-score.

    Args:
        screen: cells, or profiles of single perturbations.
        rng: not used.

    Source:
        Score of a negative binomial with known depth, as in Lause et al. 2021,
        doi:10.1186/s13059-021-02451-7, with the variance between the score's and Wald's.
    """
    rows = rows_of(screen)
    effects = effects_of_rows(rows, Contrast(rows))
    score = effects.z_pg * activity_sign(effects.kind_p)[:, None]
    return graph_of_scores(score, effects.sources, effects.readouts, name="fold_change_z")


card = GrnCard(
    name="fold_change_z",
    summary="log fold change of the counts in standard errors; direct and indirect alike",
    source="negative binomial score, after Lause et al. 2021, doi:10.1186/s13059-021-02451-7",
    fn=fold_change_z,
)
