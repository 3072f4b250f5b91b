"""PC: edges that no set of other genes explains away, and the directions colliders give."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import rows_of
from perturbkit.grn.structure import causal_learn, graph_of_ends, varying

ALPHA = 0.01
"""Level of the tests of partial correlation."""
DEPTH = 3
"""Most genes that are held fixed at a time."""


def pc(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return the edges of the PC algorithm; those without a direction count both ways.

    What was perturbed is not used: perturbed rows are rows like others.

    Args:
        screen: cells or profiles of few readouts.
        rng: draws a jitter against exact copies.

    Raises:
        MissingExtraError: causal-learn is not installed.

    Source:
        Spirtes & Glymour 1991, doi:10.1177/089443939100900106, stable in the order of genes
        (Colombo & Maathuis 2014, arXiv 1211.3295), as in causal-learn, arXiv 2307.16405.
    """
    search = causal_learn("ConstraintBased.PC")
    rows = rows_of(screen)
    x, place = varying(rows, rng)
    found = search.pc(x, alpha=ALPHA, stable=True, depth=DEPTH, show_progress=False)
    return graph_of_ends(found.G.graph, rows, place, "pc")


card = GrnCard(
    name="pc",
    summary="edges that no set of other genes explains away; extra `causal`",
    source="Spirtes & Glymour 1991, doi:10.1177/089443939100900106; causal-learn",
    fn=pc,
    interventional=False,
    max_genes=100,
)
