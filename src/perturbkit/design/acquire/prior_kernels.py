"""Coverage in the mean of several kernels: predictions and each source of prior knowledge."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, places, require
from perturbkit.design.acquire.core_set import farthest_first


def joined(spaces: list[np.ndarray]) -> np.ndarray:
    """Join features so that the joint kernel is the mean of the kernels, each of maximum 1."""
    scaled = []
    for x in spaces:
        largest = np.sqrt(np.einsum("cd,cd->c", x, x).max())
        scaled.append(x / max(float(largest), 1e-12) / np.sqrt(len(spaces)))
    return np.concatenate(scaled, 1).astype(np.float32)


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take the farthest-first choice under the mean of all max-normalised kernels."""
    free = require(k, history)
    m, c, g = responses.values.shape
    predicted = np.nan_to_num(responses.values.transpose(1, 0, 2).reshape(c, m * g))
    spaces = [predicted, places(responses, history), *history.kernels]
    x = joined([s.astype(np.float32) for s in spaces])
    return farthest_first(x, k, free, np.flatnonzero(history.taken), rng)


card = AcquisitionCard(
    name="prior_kernels",
    summary="farthest under the mean of prediction and prior-knowledge kernels",
    source="the idea of IterPert, Huang et al. 2023 (doi:10.1101/2023.12.12.571389)",
    fn=choose,
    reason="unlike everything chosen, by prediction and by prior knowledge",
)
