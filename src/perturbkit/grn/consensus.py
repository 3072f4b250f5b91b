"""Consensus: the mean rank of an edge in several networks."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.card import GrnCard
from perturbkit.grn.combine import mean_rank
from perturbkit.grn.direct import direct
from perturbkit.grn.fold_change_z import fold_change_z
from perturbkit.grn.inverse import inverse


def consensus(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return edges by their mean rank in `direct`, `inverse` and `fold_change_z`.

    Args:
        screen: cells, or profiles of single perturbations.
        rng: draws the control splits.

    Source:
        Marbach et al. 2012, doi:10.1038/nmeth.2016 ("wisdom of crowds").
    """
    return mean_rank([method(screen, rng) for method in (direct, inverse, fold_change_z)])


card = GrnCard(
    name="consensus",
    summary="mean rank in three interventional methods",
    source="Marbach et al. 2012, doi:10.1038/nmeth.2016",
    fn=consensus,
)
