"""The posterior probability that the objective passes the hit threshold."""

import numpy as np
from scipy.special import ndtr

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, objective_mc, spread, top


def threshold(values_mc: np.ndarray, history: History) -> float:
    """Return the hit threshold: stated, else the 95 % point of what was measured."""
    if history.hit_above is not None:
        return history.hit_above
    seen = history.outcome[history.measured]
    return float(np.quantile(seen if len(seen) else values_mc.mean(0), 0.95))


def probability_c(
    mean_c: np.ndarray, std_c: np.ndarray, above: float, noise: float = 0.0
) -> np.ndarray:
    """Return P(outcome >= above) under a normal law, float64 [c]; 0, 1/2 or 1 without spread."""
    scale = np.sqrt(std_c**2 + noise)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(scale > 0, (mean_c - above) / scale, np.sign(mean_c - above) * np.inf)
    return ndtr(np.nan_to_num(z, nan=0.0, posinf=np.inf, neginf=-np.inf))


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k conditions most likely to be hits."""
    values = objective_mc(responses)
    above = threshold(values, history)
    return top(probability_c(values.mean(0), spread(values), above), k, rng, history)


card = AcquisitionCard(
    name="probability_of_hit",
    summary="largest posterior probability of passing the hit threshold",
    source="arXiv:2605.10196 (2026), as described in its abstract; normal posterior",
    fn=choose,
    needs=frozenset({"members"}),
    reason="most likely to pass the threshold: predicted {value:.3g}, uncertain by {std:.2g}",
)
