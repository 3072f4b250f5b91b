"""Sampling: each choice is the best of one member drawn by chance."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, objective_mc, require


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """For each of the k places draw a member and take its best condition not yet chosen."""
    free = require(k, history)
    values = objective_mc(responses)[:, free]
    ranked = np.argsort(-values, axis=1, kind="stable")
    at = np.zeros(len(values), np.int64)
    gone = np.zeros(len(free), bool)
    chosen: list[int] = []
    for member in rng.integers(len(values), size=k):
        while gone[ranked[member, at[member]]]:
            at[member] += 1
        best = ranked[member, at[member]]
        gone[best] = True
        chosen.append(int(best))
    return free[np.array(chosen, np.int64)]


card = AcquisitionCard(
    name="thompson",
    summary="best condition of members drawn by chance",
    source="Kandasamy et al. 2018 (arXiv:1705.09236), batch Thompson sampling",
    fn=choose,
    needs=frozenset({"members"}),
    reason="the best of one sampled model; predicted {value:.3g}",
)
