"""Partial correlation: correlation given all other genes, from a shrunken inverse covariance."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import centred, correlations, rows_of


def partial_correlation(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return undirected edges weighted by the size of the partial correlation.

    Args:
        screen: cells or profiles.
        rng: not used.

    Source:
        Schäfer & Strimmer 2005, doi:10.2202/1544-6115.1175: correlations are shrunk towards 0 by
        the amount that minimises their expected squared error.
    """
    rows = rows_of(screen)
    score = shrunken_partial_correlations(centred(rows))
    return graph_of_scores(
        score, rows.readouts, rows.readouts, name="partial_correlation", directed=False
    )


def shrunken_partial_correlations(x_ng: np.ndarray) -> np.ndarray:
    """Return partial correlations [g, g], ones on the diagonal."""
    n = len(x_ng)
    r = correlations(x_ng)
    size = np.sqrt((x_ng**2).sum(0) / max(n - 1, 1))
    z = np.divide(x_ng, size, out=np.zeros_like(x_ng), where=size > 0)
    mean_square = (z**2).T @ (z**2) / n
    variance = np.maximum(mean_square - (z.T @ z / n) ** 2, 0) * n / max((n - 1) ** 2, 1)
    off = ~np.eye(len(r), dtype=bool)
    shrink = float(np.clip(variance[off].sum() / max((r[off] ** 2).sum(), 1e-12), 0.01, 1.0))
    shrunk = (1 - shrink) * r
    np.fill_diagonal(shrunk, 1.0)
    precision = np.linalg.inv(shrunk)
    scale = 1 / np.sqrt(np.diag(precision))
    partial = -precision * np.outer(scale, scale)
    np.fill_diagonal(partial, 1.0)
    return partial


card = GrnCard(
    name="partial_correlation",
    summary="correlation given all other genes, by a shrunken inverse",
    source="Schäfer & Strimmer 2005, doi:10.2202/1544-6115.1175",
    fn=partial_correlation,
    directed=False,
    interventional=False,
    max_genes=3000,
)
