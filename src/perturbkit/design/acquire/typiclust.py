"""Coverage: the most typical condition of each uncovered cluster."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, places, require
from perturbkit.design.acquire.k_means import best_of_each, clusters

NEIGHBOURS = 20
MAX_CLUSTERS = 500


def typicality(x_cd: np.ndarray, label_c: np.ndarray) -> np.ndarray:
    """Return 1 / mean distance to the 20 nearest in the same cluster, float64 [c]."""
    score = np.zeros(len(x_cd))
    order = np.argsort(label_c, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(label_c[order])) + 1):
        x = x_cd[rows[:2000]]
        norm = np.einsum("cd,cd->c", x, x)
        square = np.maximum(norm[:, None] + norm - 2 * (x @ x.T), 0)
        n = min(NEIGHBOURS + 1, len(x))
        near = np.sqrt(np.partition(square, n - 1, axis=1)[:, :n])
        score[rows[:2000]] = 1 / (near.sum(1) / max(n - 1, 1) + 1e-9)
    return score


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Cluster the whole pool; from clusters with fewest choices take the most typical."""
    free = require(k, history)
    x = places(responses, history)
    n_clusters = min(int(history.taken.sum()) + k, MAX_CLUSTERS, len(x))
    label, _ = clusters(x, n_clusters, rng)
    covered = np.bincount(label[history.taken], minlength=n_clusters)
    score = typicality(x[free], label[free])
    head = best_of_each(label[free], -score, min(k, n_clusters))
    head = head[np.argsort(covered[label[free[head]]], kind="stable")]
    rest = np.setdiff1d(np.arange(len(free)), head)
    rest = rest[np.argsort(-score[rest], kind="stable")]
    return free[np.concatenate([head, rest])[:k]]


card = AcquisitionCard(
    name="typiclust",
    summary="the most typical condition of clusters not yet covered",
    source="Hacohen et al. 2022 (arXiv:2202.02794)",
    fn=choose,
    reason="typical of a group of which little is known",
)
