"""GES: the equivalence class of acyclic graphs with the best score, by greedy steps."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import rows_of
from perturbkit.grn.structure import causal_learn, graph_of_ends, varying

MAX_PARENTS = 4
"""Most regulators of a gene."""


def ges(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return the edges of greedy equivalence search; those without a direction count both ways.

    What was perturbed is not used: perturbed rows are rows like others.

    Args:
        screen: cells or profiles of few readouts.
        rng: draws a jitter against exact copies.

    Raises:
        MissingExtraError: causal-learn is not installed.

    Source:
        Chickering 2002, jmlr.org/papers/v3/chickering02b.html, with the Gaussian BIC, as in
        causal-learn, arXiv 2307.16405.
    """
    search = causal_learn("ScoreBased.GES")
    rows = rows_of(screen)
    x, place = varying(rows, rng)
    found = search.ges(x, score_func="local_score_BIC", maxP=MAX_PARENTS)
    return graph_of_ends(found["G"].graph, rows, place, "ges")


card = GrnCard(
    name="ges",
    summary="the best-scoring class of acyclic graphs, by greedy steps; extra `causal`",
    source="Chickering 2002, jmlr.org/papers/v3/chickering02b.html; causal-learn",
    fn=ges,
    interventional=False,
    max_genes=30,
)
