"""The expected amount by which the objective passes the hit threshold."""

import numpy as np
from scipy.special import ndtr

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, objective_mc, spread, top
from perturbkit.design.acquire.probability_of_hit import threshold


def improvement_c(mean_c: np.ndarray, std_c: np.ndarray, above: float) -> np.ndarray:
    """Return E[max(outcome - above, 0)] under a normal law, float64 [c]."""
    safe = np.maximum(std_c, 1e-12)
    z = (mean_c - above) / safe
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return (mean_c - above) * ndtr(z) + safe * density


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the k largest expected improvements over the hit threshold."""
    values = objective_mc(responses)
    above = threshold(values, history)
    return top(improvement_c(values.mean(0), spread(values), above), k, rng, history)


card = AcquisitionCard(
    name="expected_improvement",
    summary="largest expected excess over the hit threshold",
    source="Jones et al. 1998, doi:10.1023/A:1008306431147, the threshold in place of the best",
    fn=choose,
    needs=frozenset({"members"}),
    reason="expected to pass the threshold: predicted {value:.3g}, uncertain by {std:.2g}",
)
