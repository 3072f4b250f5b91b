"""Static prior: genes on a published list of common essential ones."""

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import AcquisitionCard, History, top


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take listed conditions by chance, then any by chance.

    Raises:
        SchemaError: the history has no list.
    """
    del responses
    if history.essential is None:
        message = "essentials needs a list of essential genes; give one, or choose another policy"
        raise SchemaError(message)
    return top(history.essential.astype(float), k, rng, history)


card = AcquisitionCard(
    name="essentials",
    summary="genes of a published list of common essential ones",
    source="CEGv2, Hart et al. 2017, doi:10.1534/g3.117.041277: the static baseline to beat",
    fn=choose,
    needs=frozenset({"essential"}),
    reason="essential in most cell lines",
)
