"""Coverage: one condition near the centre of each of k clusters."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, places, require

SAMPLE = 4000
"""Centres are fitted on at most this many conditions."""


def clusters(
    x_cd: np.ndarray, k: int, rng: np.random.Generator, n_steps: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of each row and its squared distance to the centre (Lloyd's steps)."""
    some = rng.permutation(len(x_cd))[: max(SAMPLE, k)]
    sample = x_cd[some]
    centre = sample[:k].copy()
    for _ in range(n_steps):
        label, _ = nearest(sample, centre)
        total = np.zeros_like(centre)
        np.add.at(total, label, sample)
        size = np.bincount(label, minlength=k)
        centre = np.where(size[:, None] > 0, total / np.maximum(size, 1)[:, None], centre)
    return nearest(x_cd, centre.astype(np.float32))


def nearest(x_cd: np.ndarray, centre_kd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of each row and the squared distance to it."""
    half = 0.5 * np.einsum("kd,kd->k", centre_kd, centre_kd)
    label, value = np.zeros(len(x_cd), np.int64), np.zeros(len(x_cd))
    for start in range(0, len(x_cd), 4096):
        block = slice(start, start + 4096)
        score = half - x_cd[block] @ centre_kd.T
        label[block] = score.argmin(1)
        value[block] = 2 * score.min(1) + np.einsum("cd,cd->c", x_cd[block], x_cd[block])
    return label, np.maximum(value, 0)


def best_of_each(label_c: np.ndarray, cost_c: np.ndarray, k: int) -> np.ndarray:
    """Return the cheapest row of each cluster, largest cluster first, filled up to k by cost."""
    order = np.lexsort((cost_c, label_c))
    _, first = np.unique(label_c[order], return_index=True)
    heads = order[first]
    size = np.bincount(label_c)[label_c[heads]]
    heads = heads[np.argsort(-size, kind="stable")][:k]
    rest = np.setdiff1d(np.argsort(cost_c, kind="stable"), heads, assume_unique=True)
    rest = rest[np.argsort(cost_c[rest], kind="stable")]
    return np.concatenate([heads, rest])[:k]


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Cluster the free conditions and take the one nearest each centre."""
    free = require(k, history)
    label, cost = clusters(places(responses, history)[free], k, rng)
    return free[best_of_each(label, cost, k)]


card = AcquisitionCard(
    name="k_means",
    summary="the centre of each of k clusters",
    source="`kmeans_embedding` of GeneDisco (arXiv:2110.11875)",
    fn=choose,
    reason="at the centre of a group of similar conditions",
)
