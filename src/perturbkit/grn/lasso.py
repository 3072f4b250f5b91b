"""Lasso: each gene regressed on the others; edges are ranked by when they enter the path."""

import numba
import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import centred, correlations, rows_of

PATH = np.geomspace(0.9, 0.02, 12)
"""Penalties, relative to a correlation of one."""
MAX_SWEEPS = 50
"""Sweeps of coordinate descent at each penalty."""
TOLERANCE = 1e-4
"""A sweep that moves no coefficient by more ends the descent."""


def lasso(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return an edge into each gene from those that a lasso of it on all others chooses.

    The weight is the penalty at which the regulator enters, plus its coefficient at the end: what
    enters early is needed most.

    Args:
        screen: cells or profiles.
        rng: not used.

    Source:
        Meinshausen & Bühlmann 2006, doi:10.1214/009053606000000281 (neighbourhood selection).
    """
    rows = rows_of(screen)
    score = lasso_path(correlations(centred(rows)), PATH)
    return graph_of_scores(score, rows.readouts, rows.readouts, name="lasso")


@numba.njit(cache=True)
def _descend(r: np.ndarray, j: int, penalty: float, beta: np.ndarray, fitted: np.ndarray) -> None:
    """Coordinate descent for one response, in place; `fitted` is r @ beta."""
    g = len(r)
    for _ in range(MAX_SWEEPS):
        moved = 0.0
        for k in range(g):
            if k == j or r[k, k] == 0.0:
                continue
            gradient = r[k, j] - fitted[k] + beta[k]
            size = abs(gradient) - penalty
            new = 0.0
            if size > 0:
                new = size if gradient > 0 else -size
            change = new - beta[k]
            if change != 0.0:
                for m in range(g):
                    fitted[m] += change * r[k, m]
                beta[k] = new
                moved = max(moved, abs(change))
        if moved < TOLERANCE:
            break


@numba.njit(cache=True)
def lasso_path(r_gg: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Return signed scores [regulator, response] from a correlation matrix.

    Args:
        r_gg: correlations, 0 for a column without variance.
        path: falling penalties.
    """
    g = len(r_gg)
    score = np.zeros((g, g))
    for j in range(g):
        if r_gg[j, j] == 0.0:
            continue
        beta, fitted, entered = np.zeros(g), np.zeros(g), np.zeros(g)
        for penalty in path:
            _descend(r_gg, j, penalty, beta, fitted)
            for k in range(g):
                if beta[k] != 0.0 and entered[k] == 0.0:
                    entered[k] = penalty
        for k in range(g):
            if beta[k] != 0.0:
                score[k, j] = np.sign(beta[k]) * (entered[k] + abs(beta[k]))
    return score


card = GrnCard(
    name="lasso",
    summary="each gene regressed on all others with an absolute penalty",
    source="Meinshausen & Bühlmann 2006, doi:10.1214/009053606000000281",
    fn=lasso,
    interventional=False,
    max_genes=2000,
)
