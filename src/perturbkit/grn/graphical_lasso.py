"""Graphical lasso: a sparse inverse covariance; edges are ranked by when they enter the path."""

import numba
import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import centred, correlations, rows_of

PATH = np.array([0.5, 0.3, 0.2, 0.12, 0.07])
"""Falling penalties, relative to a correlation of one."""
MAX_SWEEPS = 30
"""Sweeps over the columns at each penalty."""
TOLERANCE = 1e-4
"""A sweep that moves no covariance by more ends the descent."""


def graphical_lasso(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return undirected edges by the penalty at which they enter, plus the partial correlation.

    Args:
        screen: cells or profiles.
        rng: not used.

    Source:
        Friedman, Hastie & Tibshirani 2008, doi:10.1093/biostatistics/kxm045.
    """
    rows = rows_of(screen)
    r = correlations(centred(rows))
    varies = np.flatnonzero(np.diag(r) > 0)
    score = np.zeros_like(r)
    inner = partial = np.zeros((len(varies), len(varies)))
    for penalty in PATH:
        precision = sparse_precision(r[np.ix_(varies, varies)], float(penalty))
        scale = 1 / np.sqrt(np.diag(precision))
        partial = -precision * np.outer(scale, scale)
        new = (inner == 0) & (np.abs(partial) > 1e-10)
        inner = np.where(new, np.sign(partial) * penalty, inner)
    score[np.ix_(varies, varies)] = inner + np.sign(inner) * np.abs(partial)
    return graph_of_scores(
        score, rows.readouts, rows.readouts, name="graphical_lasso", directed=False
    )


@numba.njit(cache=True)
def _descend(
    w: np.ndarray, r_j: np.ndarray, j: int, penalty: float, beta: np.ndarray
) -> np.ndarray:
    """Coordinate descent for one column, `beta` in place; return w @ beta."""
    fitted = w @ beta
    for _ in range(100):
        change = 0.0
        for k in range(len(w)):
            if k == j:
                continue
            gradient = r_j[k] - fitted[k] + w[k, k] * beta[k]
            size = max(abs(gradient) - penalty, 0.0)
            step = np.sign(gradient) * size / w[k, k] - beta[k]
            if step != 0.0:
                fitted += step * w[k]
                beta[k] += step
                change = max(change, abs(step))
        if change < 0.1 * TOLERANCE:
            break
    return fitted


@numba.njit(cache=True)
def sparse_precision(r_gg: np.ndarray, penalty: float) -> np.ndarray:
    """Return the inverse covariance with an absolute penalty off the diagonal, [g, g].

    Args:
        r_gg: correlations, positive on the diagonal.
        penalty: on each entry off the diagonal.
    """
    g = len(r_gg)
    w, beta = r_gg.copy(), np.zeros((g, g))
    for j in range(g):
        # strict positivity, so that the columns have an inverse
        w[j, j] += 1e-4
    for _ in range(MAX_SWEEPS):
        moved = 0.0
        for j in range(g):
            fitted = _descend(w, r_gg[j], j, penalty, beta[j])
            for k in range(g):
                if k != j:
                    moved = max(moved, abs(fitted[k] - w[k, j]))
                    w[k, j] = w[j, k] = fitted[k]
        if moved < TOLERANCE:
            break
    precision = np.zeros((g, g))
    for j in range(g):
        own = 1 / max(w[j, j] - (w[j] @ beta[j]), 1e-10)
        precision[:, j] = -beta[j] * own
        precision[j, j] = own
    return 0.5 * (precision + precision.T)


card = GrnCard(
    name="graphical_lasso",
    summary="sparse inverse covariance, by when an edge enters",
    source="Friedman et al. 2008, doi:10.1093/biostatistics/kxm045",
    fn=graphical_lasso,
    directed=False,
    interventional=False,
    max_genes=500,
)
