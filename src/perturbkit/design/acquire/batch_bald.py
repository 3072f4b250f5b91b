"""Information about the model, the batch as a whole: a greedy determinant."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, objective_mc, require


def greedy_determinant(root_cd: np.ndarray, noise: float, k: int) -> np.ndarray:
    """Choose k rows that greedily maximise log det(I + K / noise) with K = root root^T.

    A pivoted Cholesky factorisation: after each choice the variances of the others, given it,
    are updated in O(c d).

    Args:
        root_cd: float64 [c, d].
        noise: variance of a measurement.
        k: how many.
    """
    rows = root_cd.copy()
    chosen = np.zeros(k, np.int64)
    open_ = np.ones(len(rows), bool)
    for i in range(k):
        variance = np.einsum("cd,cd->c", rows, rows)
        best = int(np.argmax(np.where(open_, variance, -np.inf)))
        chosen[i], open_[best] = best, False
        row, v = rows[best], variance[best]
        if v > 0:
            # conditioning on a noisy value shrinks along `row`, exactly in these d dimensions
            shrink = (1 - np.sqrt(noise / (noise + v))) / v
            rows -= shrink * np.outer(rows @ row, row)
    return chosen


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take k conditions that together tell most about the model."""
    del rng
    free = require(k, history)
    values = objective_mc(responses)[:, free]
    root = (values - values.mean(0)).T / np.sqrt(max(len(values) - 1, 1))
    return free[greedy_determinant(root, history.noise, k)]


card = AcquisitionCard(
    name="batch_bald",
    summary="most informative about the model as a batch",
    source="Kirsch et al. 2019 (arXiv:1906.08158); normal outcomes, where it is a determinant",
    fn=choose,
    needs=frozenset({"members"}),
    reason="tells most beyond the rest of the batch: members disagree by {std:.2g}",
)
