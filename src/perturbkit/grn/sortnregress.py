"""Sort and regress: genes in order of variance, each regressed on those before it."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import centred, rows_of

RIDGE = 0.1
"""Ridge penalty, relative to a readout's variance."""


def sortnregress(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return edges from genes of smaller variance to genes of larger variance.

    In many simulated networks variance grows downstream, which this baseline exposes: a method
    that does not beat it may have learned no more than that.

    Args:
        screen: cells or profiles.
        rng: not used.

    Source:
        Reisach et al. 2021, arXiv 2102.13647, with ridge in place of the lasso.
    """
    rows = rows_of(screen)
    x = centred(rows)
    order = np.argsort(x.var(0), kind="stable")
    gram = x.T @ x / len(x)
    score = np.zeros_like(gram)
    ordered = gram[np.ix_(order, order)]
    # one Cholesky factor gives the regression of every gene on all before it
    ridge = ordered + RIDGE * np.diag(np.diag(ordered)) + 1e-12 * np.eye(len(ordered))
    factor = np.linalg.cholesky(ridge)
    unit = factor / np.diag(factor)
    coefficients = np.eye(len(unit)) - np.linalg.inv(unit)
    size = np.sqrt(np.diag(ordered))
    scaled = np.tril(coefficients, -1) * np.divide(
        size[None], size[:, None], out=np.zeros_like(unit), where=size[:, None] > 0
    )
    score[np.ix_(order, order)] = scaled.T
    return graph_of_scores(score, rows.readouts, rows.readouts, name="sortnregress")


card = GrnCard(
    name="sortnregress",
    summary="regression in order of variance; exposes data where variance gives order away",
    source="Reisach et al. 2021, arXiv 2102.13647",
    fn=sortnregress,
    interventional=False,
    max_genes=3000,
)
