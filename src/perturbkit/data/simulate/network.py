"""Random gene networks: directed, modular, hierarchical, power-law out-degrees, few cycles."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from perturbkit.core.graph import Graph
from perturbkit.data.simulate.settings import NetworkConfig

MAX_REGULATORS = 12
"""No gene has more regulators, feedback apart."""
GENES_PER_MODULE = 25
WEAK_FEEDBACK = 0.6
"""Part of the log fold change that feedback edges have: strong loops would never settle."""


@dataclass(frozen=True, eq=False)
class Network:
    """Edges with their kinetics, genes with level, module and promoter; aligned by position."""

    source: np.ndarray
    """int64 [e], the regulator"""
    target: np.ndarray
    """int64 [e]"""
    sign: np.ndarray
    """int8 [e], +1 or -1"""
    log_fold: np.ndarray
    """float64 [e], log fold change of production between no and saturating regulator, above 0"""
    hill: np.ndarray
    """float64 [e], Hill coefficient"""
    log_half: np.ndarray
    """float64 [e], log of the regulator's level at half effect, 0 being its level at rest"""
    feedback: np.ndarray
    """bool [e], whether the edge points up the hierarchy and closes a cycle"""
    level: np.ndarray
    """int64 [g], longest path from a gene without regulators, feedback edges apart"""
    module: np.ndarray
    """int64 [g]"""
    openness: np.ndarray
    """float64 [g], promoter occupancy odds at rest"""

    @property
    def n_genes(self) -> int:
        """How many genes there are."""
        return len(self.level)

    @property
    def is_regulator(self) -> np.ndarray:
        """Whether each gene regulates another, bool [g]."""
        return np.bincount(self.source, minlength=self.n_genes) > 0

    def reachable(self) -> np.ndarray:
        """Return whether gene j is a descendant of gene i, bool [g, g]; few edges, many genes."""
        return reachable(self.source, self.target, self.n_genes)


def draw_network(config: NetworkConfig, n_genes: int, rng: np.random.Generator) -> Network:
    """Draw a network.

    Every gene below level 0 has one regulator on the level above it and others anywhere above,
    mostly of its module; regulators are chosen in proportion to a Pareto fitness, which makes
    out-degrees a power law (Caldarelli et al. 2002). Feedback edges lead from a descendant back.

    Args:
        config: shape and strength.
        n_genes: how many genes.
        rng: source of randomness.

    Source:
        The recipe of modular, hierarchical, scale-free networks follows the observations of
        Aguirre, Spence, Sella & Pritchard 2025 (PLoS Comput Biol); written from scratch.
    """
    n_modules = config.n_modules or max(2, n_genes // GENES_PER_MODULE)
    n_levels = config.n_levels
    n_regulators = min(n_genes, max(n_levels - 1, round(config.regulators * n_genes)))
    regulators = rng.permutation(n_genes)[:n_regulators]
    level = _draw_levels(regulators, n_genes, n_levels, rng)
    module = np.empty(n_genes, np.int64)
    module[regulators] = rng.permutation(np.arange(n_regulators) % n_modules)
    others = np.setdiff1d(np.arange(n_genes), regulators)
    module[others] = rng.permutation(np.arange(len(others)) % n_modules)
    source, target = _draw_edges(config, regulators, level, module, rng)
    back_source, back_target = _draw_feedback(config, source, target, n_genes, rng)
    feedback = np.r_[np.zeros(len(source), bool), np.ones(len(back_source), bool)]
    source, target = np.r_[source, back_source], np.r_[target, back_target]
    return _with_kinetics(config, (source, target, feedback, None), (level, module), rng)


def network_on(graph: Graph, config: NetworkConfig, rng: np.random.Generator) -> Network:
    """Put kinetics on the edges of a known directed graph, such as a measured regulon.

    Signs that the graph does not know are drawn. Levels are longest paths after the edges that
    point back inside strongly connected groups are set apart as feedback; modules are the groups
    of genes that share their strongest regulator's level-0 ancestor.

    Args:
        graph: a directed graph; its nodes become the genes.
        config: strengths; its shape settings are not used.
        rng: source of randomness.
    """
    n = len(graph.nodes)
    source, target = graph.source.astype(np.int64), graph.target.astype(np.int64)
    feedback = _back_edges(source, target, n)
    forward = ~feedback
    level = _longest_path(source[forward], target[forward], n)
    module = _roots(source[forward], target[forward], graph.weight[forward], level)
    edges = (source, target, feedback, graph.sign.astype(np.int8))
    return _with_kinetics(config, edges, (level, module), rng)


def reachable(source: np.ndarray, target: np.ndarray, n: int) -> np.ndarray:
    """Return whether a path of at least one edge leads from i to j, bool [n, n]."""
    step = sparse.csr_array((np.ones(len(source), np.float32), (source, target)), shape=(n, n))
    found = step.toarray() > 0
    while True:
        longer = found | ((step @ found.astype(np.float32)) > 0)
        if (longer == found).all():
            return found
        found = longer


def _draw_levels(
    regulators: np.ndarray, n_genes: int, n_levels: int, rng: np.random.Generator
) -> np.ndarray:
    """Regulators widen from level 0 down to n_levels - 2; others hang one below a regulator."""
    n_tiers = n_levels - 1
    share = 1.7 ** np.arange(n_tiers)
    spare = len(regulators) - n_tiers
    counts = 1 + rng.multinomial(spare, share / share.sum())
    level = np.empty(n_genes, np.int64)
    level[regulators] = np.repeat(np.arange(n_tiers), counts)
    others = np.setdiff1d(np.arange(n_genes), regulators)
    level[others] = 1 + rng.choice(n_tiers, len(others), p=counts / counts.sum())
    return level


def _draw_edges(
    config: NetworkConfig,
    regulators: np.ndarray,
    level: np.ndarray,
    module: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw each gene's regulators without replacement, by perturbed logits (Gumbel top-k)."""
    genes = np.flatnonzero(level > 0)
    fitness = rng.pareto(config.exponent - 1, len(regulators)) + 1
    n_modules = int(module.max()) + 1
    odds = config.within_module * max(1, n_modules - 1) / max(1e-6, 1 - config.within_module)
    same = module[genes][:, None] == module[regulators]
    logits = np.log(fitness) + np.log(max(odds, 1e-6)) * same
    logits += rng.gumbel(size=logits.shape)
    step = level[genes][:, None] - level[regulators]
    logits[step < 1] = -np.inf
    first = np.where(step == 1, logits, -np.inf).argmax(1)
    n_above = (step >= 1).sum(1)
    logits[np.arange(len(genes)), first] = np.inf
    wanted = 1 + rng.poisson(config.mean_regulators - 1, len(genes))
    wanted = np.minimum(np.minimum(wanted, n_above), MAX_REGULATORS)
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, : wanted.max()]
    chosen = np.arange(ranked.shape[1]) < wanted[:, None]
    return regulators[ranked[chosen]], np.repeat(genes, wanted)


def _draw_feedback(
    config: NetworkConfig,
    source: np.ndarray,
    target: np.ndarray,
    n_genes: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw edges from regulators back to their ancestors."""
    regulators = np.unique(source)
    inside = np.isin(target, regulators)
    a = np.searchsorted(regulators, source[inside])
    b = np.searchsorted(regulators, target[inside])
    ancestor, descendant = np.nonzero(reachable(a, b, len(regulators)))
    wanted = min(round(config.feedback * inside.sum()), len(ancestor))
    chosen = rng.choice(len(ancestor), wanted, replace=False) if wanted else np.zeros(0, np.int64)
    return regulators[descendant[chosen]], regulators[ancestor[chosen]]


def _with_kinetics(
    config: NetworkConfig,
    edges: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None],
    genes: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> Network:
    """Draw signs and kinetic constants; `edges` and `genes` as in Network, signs may be None."""
    source, target, feedback, known = edges
    n = len(source)
    sign = np.where(rng.random(n) < config.activators, 1, -1).astype(np.int8)
    if known is not None:
        sign = np.where(known != 0, known, sign).astype(np.int8)
    log_fold = np.log(config.fold) * np.exp(config.fold_sd * rng.standard_normal(n) / 2)
    log_fold[feedback] *= WEAK_FEEDBACK
    hill = np.clip(config.hill + 0.25 * rng.standard_normal(n), 0.5, None)
    log_half = np.clip(0.3 * rng.standard_normal(n), -1, 1)
    level, module = genes
    openness = config.openness * np.exp(0.5 * rng.standard_normal(len(level)))
    return Network(
        source, target, sign, log_fold, hill, log_half, feedback, level, module, openness
    )


def _back_edges(source: np.ndarray, target: np.ndarray, n: int) -> np.ndarray:
    """Mark edges inside strongly connected groups that lead against the order of net out-degree."""
    matrix = sparse.csr_array((np.ones(len(source)), (source, target)), shape=(n, n))
    _, group = sparse.csgraph.connected_components(matrix, directed=True, connection="strong")
    net = np.bincount(source, minlength=n) - np.bincount(target, minlength=n)
    place = np.empty(n, np.int64)
    place[np.argsort(-net, kind="stable")] = np.arange(n)
    return (group[source] == group[target]) & (place[source] > place[target])


def _longest_path(source: np.ndarray, target: np.ndarray, n: int) -> np.ndarray:
    """Return the longest path to each node of an acyclic graph, int64 [n]."""
    level = np.zeros(n, np.int64)
    while True:
        lower = level.copy()
        np.maximum.at(lower, target, level[source] + 1)
        if (lower == level).all():
            return level
        level = lower


def _roots(
    source: np.ndarray, target: np.ndarray, weight: np.ndarray, level: np.ndarray
) -> np.ndarray:
    """Number the groups of genes that descend from one root by their heaviest edges."""
    parent = np.arange(len(level))
    order = np.argsort(weight, kind="stable")
    parent[target[order]] = source[order]
    for _ in range(int(level.max(initial=0))):
        parent = parent[parent]
    return np.unique(parent, return_inverse=True)[1]
