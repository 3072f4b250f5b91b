"""Experiments that teach a network: which gene to perturb next to learn who regulates whom."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from perturbkit.core.condition import Condition
from perturbkit.data.simulate import SimulationConfig, World, draw_world
from perturbkit.design.metrics import ancestor_concordance, average_precision
from perturbkit.grn.spike_slab import regress

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
ROW_PRIOR = 5.0
"""Weight of the mean share of targets against a gene's own, in targets."""
FULL_LOSS = 2.3
"""A log fold change that counts as all of a gene's activity."""


@dataclass(frozen=True, eq=False)
class NetworkTruth:
    """A simulated network and what each knock-out does, one context."""

    effect_gg: np.ndarray
    """float64, true log fold change of the column gene when the row gene is knocked out"""
    edge_gg: np.ndarray
    """bool, direct regulation of the column by the row"""
    ancestor_gg: np.ndarray
    """bool, whether the row is above the column"""


def draw_truth(config: SimulationConfig, rng: np.random.Generator) -> NetworkTruth:
    """Draw a network and knock every gene out, one at a time, without noise."""
    world: World = draw_world(config, rng, None)
    context = world.contexts[0]
    rest, out = world.log_levels(
        Condition(targets=(g,), context=context, kind=config.kind) for g in world.genes
    )
    n = len(world.genes)
    graph = world.graph().within(world.genes)
    edge = np.zeros((n, n), bool)
    edge[graph.source, graph.target] = True
    np.fill_diagonal(edge, val=False)
    reach = edge.copy()
    for _ in range(int(np.ceil(np.log2(n))) + 1):
        reach = reach | (reach.astype(np.float32) @ reach.astype(np.float32) > 0)
    return NetworkTruth(out - rest, edge, reach)


@dataclass(eq=False)
class Evidence:
    """Sums over the replicates so far; the state of a network campaign."""

    n_g: np.ndarray
    """int64 [g], replicates of each knock-out"""
    mean_gg: np.ndarray
    """float64 [g, g], mean log fold change; 0 where not measured"""
    noise: float
    """standard deviation of one replicate"""

    @classmethod
    def none(cls, n_genes: int, noise: float) -> "Evidence":
        """Return the state before the first experiment."""
        return cls(np.zeros(n_genes, np.int64), np.zeros((n_genes, n_genes)), noise)

    def add(self, gene: int, value_g: np.ndarray) -> None:
        """Add one replicate of a knock-out."""
        self.n_g[gene] += 1
        self.mean_gg[gene] += (value_g - self.mean_gg[gene]) / self.n_g[gene]


def probabilities(evidence: Evidence) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the chance that each total effect exists [g, g], the prior rates [g], the slab.

    A spike at 0 and a normal slab of fitted variance; each gene has its own share of targets,
    pulled towards the mean (few genes have many targets), fitted by a few rounds of empirical
    Bayes. The diagonal is 0.
    """
    n, noise = evidence.n_g, evidence.noise
    seen = n > 0
    rate = np.full(len(n), 0.05)
    if not seen.any():
        return np.full(evidence.mean_gg.shape, 0.05) * (1 - np.eye(len(n))), rate, 4 * noise**2
    error = noise**2 / np.maximum(n, 1)[:, None]
    off = ~np.eye(len(n), dtype=bool)
    strong = seen[:, None] & off & (np.abs(evidence.mean_gg) > 4 * np.sqrt(error))
    slab = float(np.mean(evidence.mean_gg[strong] ** 2)) if strong.sum() > 5 else 4 * noise**2
    shape = -0.5 * np.log1p(slab / error)
    shape = shape + 0.5 * evidence.mean_gg**2 * (1 / error - 1 / (error + slab))
    p = np.zeros_like(evidence.mean_gg)
    for _ in range(30):
        p = expit(np.log(rate / (1 - rate))[:, None] + shape) * off
        mean = float(np.clip(p[seen].sum() / (seen.sum() * (len(n) - 1)), 1e-4, 0.5))
        rate = (p.sum(1) + ROW_PRIOR * mean) / (len(n) - 1 + ROW_PRIOR)
        rate = np.clip(np.where(seen, rate, mean), 1e-5, 0.8)
    p = np.where(seen[:, None], p, rate[:, None] * off)
    return p, rate, slab


def information(evidence: Evidence) -> np.ndarray:
    """Return the expected drop in entropy of a gene's effects by one more replicate, nats [g].

    Closed form but for a one-dimensional integral by nine Gauss-Hermite nodes: for each pair the
    next value is drawn from the spike or from the slab's posterior, and the probability of the
    slab is updated.
    """
    p, rate, slab = probabilities(evidence)
    n = evidence.n_g[:, None]
    noise = evidence.noise**2
    error = noise / np.maximum(n, 1)
    shrink = np.where(n > 0, slab / (slab + error), 0.0)
    centre = shrink * evidence.mean_gg
    spread = np.where(n > 0, slab * (1 - shrink), slab) + noise
    odds = np.log(rate / (1 - rate))[:, None]
    after = np.zeros_like(p)
    off = ~np.eye(len(p), dtype=bool)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        for share, value in (
            (1 - p, node * np.sqrt(noise) * np.ones_like(p)),
            (p, centre + node * np.sqrt(spread)),
        ):
            new = (n * evidence.mean_gg + value) / (n + 1)
            error_new = noise / (n + 1)
            shape = -0.5 * np.log1p(slab / error_new)
            shape = shape + 0.5 * new**2 * (1 / error_new - 1 / (error_new + slab))
            after += weight * share * entropy(expit(odds + shape))
    return ((entropy(p) - after) * off).sum(1)


def entropy(p: np.ndarray) -> np.ndarray:
    """Return the entropy of a yes or no, nats; 0 at 0 and 1."""
    q = np.clip(p, 1e-12, 1 - 1e-12)
    return -q * np.log(q) - (1 - q) * np.log(1 - q)


def choose_random(evidence: Evidence, k: int, rng: np.random.Generator) -> np.ndarray:
    """Take the genes with fewest replicates, ties by chance: balanced, the better random."""
    return np.lexsort((rng.random(len(evidence.n_g)), evidence.n_g))[:k]


def choose_information(evidence: Evidence, k: int, rng: np.random.Generator) -> np.ndarray:
    """Take the k genes from whose next replicate most is expected to be learned."""
    gain = information(evidence)
    return np.lexsort((rng.random(len(gain)), -gain))[:k]


ChooseGenes = Callable[[Evidence, int, np.random.Generator], np.ndarray]
CHOOSERS: dict[str, ChooseGenes] = {"random": choose_random, "information": choose_information}


def direct_scores(evidence: Evidence) -> np.ndarray:
    """Return the probability of each direct edge, other perturbed genes' part taken out, [g, g].

    Two sparse regressions: total effects, then each effect on the share of every gene's activity
    that each knock-out takes away.
    """
    seen = np.flatnonzero(evidence.n_g > 0)
    n = len(evidence.n_g)
    scores = np.zeros((n, n))
    if len(seen) < 2:
        return scores
    y = evidence.mean_gg[seen]
    se = np.repeat((evidence.noise / np.sqrt(evidence.n_g[seen]))[:, None], n, 1)
    allowed = np.ones((len(seen), n), bool)
    allowed[np.arange(len(seen)), seen] = False
    se[np.arange(len(seen)), seen] = np.inf
    total = regress(y, se, np.eye(len(seen)), allowed)
    lost = np.clip(total.mean_kg[:, seen] / -FULL_LOSS, -1.5, 1.5)
    lost[np.abs(lost) < 0.01] = 0.0
    np.fill_diagonal(lost, 1.0)
    found = regress(y, se, lost, allowed, misfit=0.3)
    size = np.abs(found.mean_kg)
    # probability first; among equals the larger effect
    scores[seen] = found.probability_kg + 1e-3 * size / (1 + size)
    return scores


def levels(evidence: Evidence) -> np.ndarray:
    """Return the inferred level of each gene, smaller is higher up: effects on it minus its own."""
    p, _, _ = probabilities(evidence)
    p = np.where((evidence.n_g > 0)[:, None], p, 0.0)
    return p.sum(0) - p.sum(1)


def run_campaign(
    truth: NetworkTruth, policy: str, budget: int, batch: int, noise: float,
    rng: np.random.Generator, *, every: int = 1,
) -> list[dict[str, float]]:  # fmt: skip
    """Run one campaign; return AUPRC and hierarchy consistency after the rounds asked for.

    Args:
        truth: the network.
        policy: a name of CHOOSERS.
        budget: experiments, a replicate of one knock-out each.
        batch: experiments in a round.
        noise: standard deviation of a replicate's log fold change.
        rng: source of randomness.
        every: score after every this many rounds, and at the end.
    """
    evidence, curve, spent, round_ = Evidence.none(len(truth.edge_gg), noise), [], 0, 0
    off = ~np.eye(len(truth.edge_gg), dtype=bool)
    while spent < budget:
        for gene in CHOOSERS[policy](evidence, min(batch, budget - spent), rng):
            value = truth.effect_gg[gene] + noise * rng.standard_normal(len(off))
            evidence.add(int(gene), value)
            spent += 1
        round_ += 1
        if round_ % every == 0 or spent >= budget:
            scores = direct_scores(evidence)
            curve.append({
                "experiments": spent,
                "auprc": average_precision(scores[off], truth.edge_gg[off]),
                "hierarchy": ancestor_concordance(levels(evidence), truth.ancestor_gg),
            })  # fmt: skip
    return curve
