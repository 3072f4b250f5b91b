"""Coverage by size: the farthest condition of the largest cluster, again and again."""

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.design.acquire.card import (
    AcquisitionCard,
    History,
    places,
    require,
    square_distance,
)
from perturbkit.design.acquire.k_means import nearest as nearest_centre


def choose(
    responses: Responses, k: int, rng: np.random.Generator, *, history: History
) -> np.ndarray:
    """Take from the cluster of largest total squared distance its farthest condition, k times."""
    free = require(k, history)
    x = places(responses, history)
    taken = np.flatnonzero(history.taken)
    chosen: list[int] = []
    if not len(taken):
        taken = rng.choice(free, 1)
        chosen = [int(taken[0])]
    label, nearest = nearest_centre(x, x[taken])
    norm = np.einsum("cd,cd->c", x, x)
    open_ = np.zeros(len(x), bool)
    open_[free] = True
    open_[chosen] = False
    n_centres = len(taken)
    while len(chosen) < k:
        size = np.bincount(label[open_], weights=nearest[open_] + 1e-30, minlength=n_centres)
        inside = open_ & (label == int(np.argmax(size)))
        best = int(np.argmax(np.where(inside, nearest, -1)))
        chosen.append(best)
        open_[best] = False
        away = square_distance(x, x[best], norm)
        closer = away < nearest
        label[closer], nearest = n_centres, np.minimum(nearest, away)
        n_centres += 1
    return np.array(chosen, np.int64)


card = AcquisitionCard(
    name="lcmd",
    summary="farthest condition of the largest cluster",
    source="Holzmuller et al. 2023 (arXiv:2203.09410), features in place of gradients",
    fn=choose,
    reason="stands for a large group far from everything chosen",
)
