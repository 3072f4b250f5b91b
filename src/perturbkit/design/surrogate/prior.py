"""Nothing learned: what was known before the first round."""

import numpy as np

from perturbkit.design.knowledge import Knowledge
from perturbkit.design.surrogate.card import SurrogateCard


def fit(knowledge: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the static prior as one member; the outcomes are not looked at."""
    del outcome_c, rng
    return knowledge.prior_c[None]


card = SurrogateCard(
    name="prior",
    summary="connectivity and company of essential genes; nothing learned",
    source="the static prior of `design.knowledge`",
    fn=fit,
)
