"""Experiments that teach a network: which gene to perturb next to learn who regulates whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from perturbkit.core.condition import Condition
from perturbkit.data.simulate import SimulationConfig, World, draw_world
from perturbkit.data.spike_slab import Carried, Posterior, RatePrior, regress
from perturbkit.design.metrics import ancestor_concordance, average_precision, level_tau

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
ROW_PRIOR = 5.0
"""Weight of the mean share of targets against a gene's own, in targets."""
REGULATOR_PRIOR = 0.2
"""The same in the search for direct edges, in edges: most genes regulate nothing."""
PASSES = 2
"""Pairs drawn by chance in which each gene is knocked out, before pairs are chosen."""
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
    effect_of_pool: Callable[[tuple[int, ...]], np.ndarray] | None = None
    """true log fold changes when several genes are knocked out at once; sums where not given"""

    def pooled(self, genes: tuple[int, ...]) -> np.ndarray:
        """Return the true log fold changes when these genes are knocked out together."""
        if self.effect_of_pool is None or len(genes) == 1:
            return self.effect_gg[list(genes)].sum(0)
        return self.effect_of_pool(genes)


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

    def effect_of_pool(genes: tuple[int, ...]) -> np.ndarray:
        targets = tuple(world.genes[g] for g in genes)
        before, after = world.log_levels([Condition(targets, context=context, kind=config.kind)])
        return (after - before)[0]

    return NetworkTruth(out - rest, edge, reach, effect_of_pool)


@dataclass(eq=False)
class Evidence:
    """Sums over the experiments so far; the state of a network campaign."""

    n_g: np.ndarray
    """int64 [g], experiments in which each gene was knocked out, alone or with another"""
    mean_gg: np.ndarray
    """float64 [g, g], mean log fold change, the other knocked-out genes' part taken out"""
    noise: float
    """standard deviation of one replicate"""
    rows: dict[tuple[int, ...], tuple[int, np.ndarray]] = field(default_factory=dict)
    """replicates and mean log fold change of each experiment, by the genes knocked out"""

    @classmethod
    def none(cls, n_genes: int, noise: float) -> "Evidence":
        """Return the state before the first experiment."""
        return cls(np.zeros(n_genes, np.int64), np.zeros((n_genes, n_genes)), noise)

    def add(self, genes: int | tuple[int, ...], value_g: np.ndarray) -> None:
        """Add one replicate of a knock-out of one gene or of several together."""
        key = (genes,) if isinstance(genes, int) else tuple(sorted(genes))
        n, mean = self.rows.get(key, (0, np.zeros_like(value_g)))
        self.rows[key] = (n + 1, mean + (value_g - mean) / (n + 1))
        self.n_g[list(key)] += 1
        if len(key) == 1:
            self.mean_gg[key[0]] += (value_g - self.mean_gg[key[0]]) / self.n_g[key[0]]

    def resolve(self) -> None:
        """Divide what pools of genes did among their members; nothing to do without pools.

        Each gene's mean is over its experiments, less what a sparse regression on all experiments
        expects of the others of the pool.
        """
        if all(len(key) == 1 for key in self.rows):
            return
        seen, design = np.flatnonzero(self.n_g > 0), self.design()
        expected = np.zeros_like(self.mean_gg)
        expected[seen] = design.total_effects().mean_kg
        total, weight = np.zeros_like(self.mean_gg), np.zeros_like(self.mean_gg)
        for key, (n, mean) in self.rows.items():
            members = list(key)
            counted = np.ones_like(mean)
            # a gene that was knocked out itself does not show what its partner does to it
            counted[members] = 0.0
            rest = mean - expected[members].sum(0)
            total[members] += n * counted * (rest + expected[members])
            weight[members] += n * counted
        self.mean_gg = total / np.maximum(weight, 1)

    def design(self) -> "Design":
        """Return the experiments as a regression on the genes that were ever knocked out."""
        seen, n = np.flatnonzero(self.n_g > 0), len(self.n_g)
        own = np.zeros((len(self.rows), n), bool)
        for i, key in enumerate(self.rows):
            own[i, list(key)] = True
        y = np.stack([mean for _, mean in self.rows.values()])
        n_i = np.array([count for count, _ in self.rows.values()])
        se = np.where(own, np.inf, (self.noise / np.sqrt(n_i))[:, None])
        allowed = np.ones((len(seen), n), bool)
        allowed[np.arange(len(seen)), seen] = False
        return Design(y, se, own[:, seen], allowed)


@dataclass(frozen=True, eq=False)
class Design:
    """Experiments by genes, ready for regression."""

    y_ig: np.ndarray
    """mean log fold change of each experiment"""
    se_ig: np.ndarray
    """its standard error; infinite for the genes knocked out"""
    own_ik: np.ndarray
    """bool, the genes that each experiment knocks out"""
    allowed_kg: np.ndarray
    """bool, every effect but of a gene on itself"""

    def total_effects(self) -> Posterior:
        """Return the effects of each gene's loss, direct or not."""
        prior = RatePrior(predictor=REGULATOR_PRIOR)
        x = self.own_ik.astype(float)
        return regress(self.y_ig, self.se_ig, x, self.allowed_kg, prior=prior)


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


Experiments = list[tuple[int, ...]]
"""the genes that each experiment knocks out"""


def choose_random(evidence: Evidence, k: int, rng: np.random.Generator) -> Experiments:
    """Take the genes with fewest replicates, ties by chance: balanced, the better random."""
    order = np.lexsort((rng.random(len(evidence.n_g)), evidence.n_g))
    return [(int(g),) for g in order[:k]]


def choose_with_replacement(evidence: Evidence, k: int, rng: np.random.Generator) -> Experiments:
    """Take any gene each time, whatever was done before: random in the plain sense."""
    return [(int(g),) for g in rng.integers(len(evidence.n_g), size=k)]


def choose_information(evidence: Evidence, k: int, rng: np.random.Generator) -> Experiments:
    """Knock out the k genes from whose next replicate most is expected to be learned."""
    return [(g,) for g in most_informative(evidence, k, rng)]


def choose_random_pairs(evidence: Evidence, k: int, rng: np.random.Generator) -> Experiments:
    """Knock out two genes at once: those with fewest experiments, paired by chance."""
    order = np.lexsort((rng.random(len(evidence.n_g)), evidence.n_g))[: 2 * k]
    return paired(rng.permutation(order).tolist(), rng)


def choose_pairs(evidence: Evidence, k: int, rng: np.random.Generator) -> Experiments:
    """Knock out two genes at once: the most informative, each with one of the lesser half.

    First every gene is in two pairs drawn by chance: from one pair alone it cannot be told which
    of the two genes acts, and a choice made then goes astray.
    """
    if evidence.n_g.min() < PASSES:
        return choose_random_pairs(evidence, k, rng)
    return paired(most_informative(evidence, 2 * k, rng), rng)


def most_informative(evidence: Evidence, k: int, rng: np.random.Generator) -> list[int]:
    """Return the k genes from whose next replicate most is expected to be learned."""
    gain = information(evidence)
    return np.lexsort((rng.random(len(gain)), -gain))[:k].tolist()


def paired(genes: list[int], rng: np.random.Generator) -> Experiments:
    """Pair each of the first half with one of the second by chance; equal genes stay alone."""
    half = (len(genes) + 1) // 2
    second = rng.permutation(genes[half:]).tolist()
    pairs = [(g, int(s)) for g, s in zip(genes[:half], second, strict=False)]
    alone = [(g,) for g in genes[len(second) : half]]
    return [p if p[0] != p[1] else (p[0],) for p in pairs] + alone


ChooseGenes = Callable[[Evidence, int, np.random.Generator], Experiments]
CHOOSERS: dict[str, ChooseGenes] = {
    "random": choose_random,
    "random_with_replacement": choose_with_replacement,
    "random_pairs": choose_random_pairs,
    "information": choose_information,
    "information_pairs": choose_pairs,
}


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
    design = evidence.design()
    own = design.own_ik
    lost = np.clip(own @ design.total_effects().mean_kg[:, seen] / -FULL_LOSS, -1.5, 1.5)
    lost[np.abs(lost) < 0.01] = 0.0
    lost[own] = 1.0
    carried = Carried.of(lost, misfit=0.3, own_ik=own)
    prior = RatePrior(predictor=REGULATOR_PRIOR)
    found = regress(
        design.y_ig, design.se_ig, lost, design.allowed_kg, carried=carried, prior=prior
    )
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
    rng: np.random.Generator, *, at: Sequence[int] = (),
) -> list[dict[str, float]]:  # fmt: skip
    """Run one campaign; return AUPRC and hierarchy consistency at the budgets asked for.

    Args:
        truth: the network.
        policy: a name of CHOOSERS.
        budget: experiments, a replicate of one knock-out (or of one pair) each.
        batch: experiments in a round.
        noise: standard deviation of a replicate's log fold change.
        rng: source of randomness.
        at: score at the end of the round in which so many were spent; by default every round.
    """
    evidence, curve, spent = Evidence.none(len(truth.edge_gg), noise), [], 0
    off = ~np.eye(len(truth.edge_gg), dtype=bool)
    while spent < budget:
        before = spent
        for genes in CHOOSERS[policy](evidence, min(batch, budget - spent), rng):
            value = truth.pooled(genes) + noise * rng.standard_normal(len(off))
            evidence.add(genes, value)
            spent += 1
        evidence.resolve()
        if not at or spent >= budget or any(before < b <= spent for b in at):
            scores = direct_scores(evidence)
            precision = average_precision(scores[off], truth.edge_gg[off])
            curve.append({
                "experiments": spent,
                "auprc": precision,
                "over_prevalence": precision / float(truth.edge_gg[off].mean()),
                "hierarchy": ancestor_concordance(levels(evidence), truth.ancestor_gg),
                "tau": level_tau(levels(evidence), truth.ancestor_gg),
            })  # fmt: skip
    return curve
