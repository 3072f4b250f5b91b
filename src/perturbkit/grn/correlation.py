"""Correlation: genes that vary together, whatever was perturbed; the observational baseline."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import centred, correlations, rows_of


def correlation(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return undirected edges weighted by the size of Pearson's correlation over all rows.

    Args:
        screen: cells or profiles.
        rng: not used.

    Source:
        Pearson; rows are centred within their context and batch.
    """
    rows = rows_of(screen)
    score = correlations(centred(rows))
    return graph_of_scores(score, rows.readouts, rows.readouts, name="correlation", directed=False)


card = GrnCard(
    name="correlation",
    summary="Pearson correlation over all rows; says nothing of direction",
    source="Pearson correlation within context and batch",
    fn=correlation,
    directed=False,
    interventional=False,
    max_genes=5000,
)
