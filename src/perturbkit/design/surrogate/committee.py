"""Trees, the company of what was measured, and the prior, added on one scale."""

import numpy as np

from perturbkit.design.knowledge import Knowledge, neighbour_mean, standard
from perturbkit.design.surrogate.card import SurrogateCard, observed
from perturbkit.design.surrogate.trees import fit as fit_trees

WEIGHTS = {"trees": 0.5, "neighbours": 1.0, "alike": 0.5, "prior": 2.0}


def fit(knowledge: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return eight members: a forest each, the mean outcome of neighbours and alikes, the prior.

    Every part is put on standard scores before it is weighed, and the sum is put back on the
    scale of the outcomes.
    """
    rows, y = observed(outcome_c)
    forests = fit_trees(knowledge, outcome_c, rng)
    if not len(rows):
        return np.repeat(knowledge.prior_c[None], len(forests), 0)
    known = np.isfinite(outcome_c)
    near = sum(
        (neighbour_mean(a, outcome_c, known) for a in knowledge.networks.values()),
        np.zeros(len(outcome_c)),
    )
    spread = forests.mean(0).std()
    centre = forests.mean()
    scored = (forests - centre) / spread if spread > 0 else np.zeros_like(forests)
    total = WEIGHTS["trees"] * scored + WEIGHTS["neighbours"] * standard(near)
    total = total + WEIGHTS["alike"] * standard(alike_mean(knowledge.sources, outcome_c))
    total = total + WEIGHTS["prior"] * knowledge.prior_c
    return y.mean() + max(spread, 0.1 * float(y.std())) * total / sum(WEIGHTS.values())


def alike_mean(sources: tuple[np.ndarray, ...], outcome_c: np.ndarray) -> np.ndarray:
    """Return the mean outcome of measured conditions, weighted by (mean cosine)^4 of the features.

    The condition itself does not count; 0.3 conditions of average outcome are added.
    """
    rows, y = observed(outcome_c)
    units = []
    for x in sources:
        norm = np.sqrt(np.einsum("cd,cd->c", x, x))[:, None]
        units.append((x / np.where(norm > 0, norm, 1)).astype(np.float32))
    unit = np.concatenate(units, 1) / np.float32(np.sqrt(max(len(sources), 1)))
    near = np.maximum(unit @ unit[rows].T, 0)
    near *= near
    near *= near
    near[rows, np.arange(len(rows))] = 0
    return (near @ y + 0.3 * y.mean()) / (near.sum(1) + 0.3)


card = SurrogateCard(
    name="committee",
    summary="trees, measured neighbours and the static prior together",
    source="this package; weights chosen on IFNG, IL2 and Sanchez, see docs/benchmarks/design.md",
    fn=fit,
    by_chance=True,
)
