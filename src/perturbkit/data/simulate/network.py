"""Random gene networks: directed, modular, hierarchical, power-law out-degrees, few cycles."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from perturbkit.core.graph import Graph
from perturbkit.data.simulate.settings import NetworkConfig

MAX_INPUTS = 12
"""No gene has more regulators or complexes, feedback and the common response apart."""
MAX_COMPLEX = 4
SAME_SIGN = 0.9
"""Share of a regulator's edges that have its own role, activator or repressor."""
COMMON_SHARE = 0.25
"""Share of the lowest genes that the common response moves."""
WEAK_COMMON = 0.5
"""Part of the log fold change that edges of the common response have."""
GENES_PER_MODULE = 25
WEAK_FEEDBACK = 0.5
"""Part of the log fold change that feedback edges have: strong loops would never settle."""


@dataclass(frozen=True, eq=False)
class Network:
    """Edges with their kinetics, genes with level, module and promoter; aligned by position."""

    source: np.ndarray
    """int64 [e], the regulator"""
    target: np.ndarray
    """int64 [e]"""
    group: np.ndarray
    """int64 [e]: edges of one group are a complex on one target; they share their constants"""
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
    def n_groups(self) -> int:
        """How many inputs there are: edges, those of a complex counted once."""
        return int(self.group.max()) + 1

    @property
    def is_regulator(self) -> np.ndarray:
        """Whether each gene regulates another, bool [g]."""
        return np.bincount(self.source, minlength=self.n_genes) > 0

    def reachable(self) -> np.ndarray:
        """Return whether gene j is a descendant of gene i, bool [g, g]."""
        return reachable(self.source, self.target, self.n_genes)


@dataclass(frozen=True, eq=False)
class _Units:
    """Regulators that act together: one of a kind, or a complex; same level and module."""

    gene: np.ndarray
    """int64 [members], ordered by unit"""
    unit: np.ndarray
    """int64 [members], ascending"""
    level: np.ndarray
    """int64 [u]"""
    module: np.ndarray
    """int64 [u]"""

    def expand(
        self, unit: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return source, target and group of the edges that inputs (unit, target) stand for."""
        size = np.bincount(self.unit)
        first = np.cumsum(size) - size
        group = np.repeat(np.arange(len(unit)), size[unit])
        member = np.arange(len(group)) - np.repeat(np.cumsum(size[unit]) - size[unit], size[unit])
        return self.gene[first[unit[group]] + member], target[group], group


def draw_network(config: NetworkConfig, n_genes: int, rng: np.random.Generator) -> Network:
    """Draw a network.

    Every gene below level 0 has one input from the level above it and others from anywhere above,
    mostly of its module; an input is a regulator or a complex of regulators. Inputs are chosen in
    proportion to a Pareto fitness, which makes out-degrees a power law (Caldarelli et al. 2002).
    Feedback edges lead from a descendant back to an ancestor.

    Args:
        config: shape and strength.
        n_genes: how many genes.
        rng: source of randomness.

    Source:
        The recipe of modular, hierarchical, scale-free networks follows the observations of
        Aguirre, Spence, Sella & Pritchard 2025 (PLoS Comput Biol); written from scratch.
    """
    n_modules = config.n_modules or max(2, n_genes // GENES_PER_MODULE)
    n_regulators = min(n_genes - 1, max(config.n_levels - 1, round(config.regulators * n_genes)))
    regulators = rng.permutation(n_genes)[:n_regulators]
    level = _draw_levels(regulators, n_genes, config.n_levels, rng)
    module = np.empty(n_genes, np.int64)
    module[regulators] = rng.permutation(np.arange(n_regulators) % n_modules)
    others = np.setdiff1d(np.arange(n_genes), regulators)
    module[others] = rng.permutation(np.arange(len(others)) % n_modules)
    units = _draw_units(config, regulators, level, module, rng)
    unit, target = _draw_inputs(config, units, level, module, rng)
    n_own = len(unit)
    more_unit, more_target = _draw_common_response(config, units, (unit, target), level, rng)
    source, gene, group = units.expand(np.r_[unit, more_unit], np.r_[target, more_target])
    back_source, back_target = _draw_feedback(config, source, gene, module, rng)
    n_back = len(back_source)
    group = np.r_[group, n_own + len(more_unit) + np.arange(n_back)]
    strength = np.ones(group[-1] + 1)
    strength[n_own : n_own + len(more_unit)] = WEAK_COMMON
    strength[len(strength) - n_back :] = WEAK_FEEDBACK
    feedback = np.r_[np.zeros(len(source), bool), np.ones(n_back, bool)]
    edges = _Edges(np.r_[source, back_source], np.r_[gene, back_target], group, feedback, strength)
    return _with_kinetics(config, edges, level, module, rng)


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
    edges = _Edges(
        source, target, np.arange(len(source)), feedback, np.where(feedback, WEAK_FEEDBACK, 1.0),
        graph.sign.astype(np.int8),
    )  # fmt: skip
    return _with_kinetics(config, edges, level, module, rng)


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


def _draw_units(
    config: NetworkConfig,
    regulators: np.ndarray,
    level: np.ndarray,
    module: np.ndarray,
    rng: np.random.Generator,
) -> _Units:
    """Join regulators of one level and module into complexes."""
    order = np.lexsort((rng.random(len(regulators)), module[regulators], level[regulators]))
    gene = regulators[order]
    joins = rng.random(len(gene)) < config.complexes
    joins[0] = False
    joins[1:] &= (level[gene[1:]] == level[gene[:-1]]) & (module[gene[1:]] == module[gene[:-1]])
    run = 0
    for i, join in enumerate(joins):
        run = run + 1 if join and run + 1 < MAX_COMPLEX else 0
        joins[i] = run > 0
    first = ~joins
    return _Units(gene, np.cumsum(first) - 1, level[gene[first]], module[gene[first]])


def _draw_inputs(
    config: NetworkConfig,
    units: _Units,
    level: np.ndarray,
    module: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw each gene's inputs without replacement, by perturbed logits (Gumbel top-k)."""
    genes = np.flatnonzero(level > 0)
    fitness = rng.pareto(config.exponent - 1, len(units.level)) + 1
    n_modules = int(module.max()) + 1
    odds = config.within_module * max(1, n_modules - 1) / max(1e-6, 1 - config.within_module)
    same = module[genes][:, None] == units.module
    logits = np.log(fitness) + np.log(max(odds, 1e-6)) * same
    logits += rng.gumbel(size=logits.shape)
    step = level[genes][:, None] - units.level
    logits[step < 1] = -np.inf
    first = np.where(step == 1, logits, -np.inf).argmax(1)
    n_above = (step >= 1).sum(1)
    logits[np.arange(len(genes)), first] = np.inf
    size = len(units.gene) / len(units.level)
    wanted = 1 + rng.poisson(max(0.0, config.mean_regulators / size - 1), len(genes))
    wanted = np.minimum(np.minimum(wanted, n_above), MAX_INPUTS)
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, : wanted.max()]
    chosen = np.arange(ranked.shape[1]) < wanted[:, None]
    return ranked[chosen], np.repeat(genes, wanted)


def _draw_common_response(
    config: NetworkConfig,
    units: _Units,
    inputs: tuple[np.ndarray, np.ndarray],
    level: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs of many units to one low regulator, and from it to many genes of all modules."""
    low = config.n_levels - 2
    nothing = np.zeros(0, np.int64)
    if not config.common_response or not low:
        return nothing, nothing
    unit, target = inputs
    taken = set(zip(unit.tolist(), target.tolist(), strict=True))
    size = np.bincount(units.unit)
    # the smallest unit: an integrator that is a complex would need all its members' inputs
    centre = min(np.flatnonzero(units.level == low), key=lambda u: (size[u], u))
    gene = units.gene[units.unit == centre][0]
    above = np.flatnonzero(units.level < low)
    below = np.flatnonzero(level == low + 1)
    above = above[rng.random(len(above)) < config.common_response]
    below = below[rng.random(len(below)) < COMMON_SHARE]
    pairs = [(int(u), int(gene)) for u in above] + [(int(centre), int(g)) for g in below]
    new = np.array([p for p in pairs if p not in taken], np.int64).reshape(-1, 2)
    return new[:, 0], new[:, 1]


def _draw_feedback(
    config: NetworkConfig,
    source: np.ndarray,
    target: np.ndarray,
    module: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw edges from regulators back to ancestors of their module: loops that do not tangle."""
    regulators = np.unique(source)
    inside = np.isin(target, regulators)
    a = np.searchsorted(regulators, source[inside])
    b = np.searchsorted(regulators, target[inside])
    local = module[regulators][:, None] == module[regulators]
    ancestor, descendant = np.nonzero(reachable(a, b, len(regulators)) & local)
    wanted = min(round(config.feedback * inside.sum()), len(ancestor))
    chosen = rng.choice(len(ancestor), wanted, replace=False) if wanted else np.zeros(0, np.int64)
    return regulators[descendant[chosen]], regulators[ancestor[chosen]]


@dataclass(frozen=True, eq=False)
class _Edges:
    """Edges before their kinetics; `strength` scales the log fold change of each group."""

    source: np.ndarray
    target: np.ndarray
    group: np.ndarray
    feedback: np.ndarray
    strength: np.ndarray
    known_sign: np.ndarray | None = None


def _with_kinetics(
    config: NetworkConfig,
    edges: _Edges,
    level: np.ndarray,
    module: np.ndarray,
    rng: np.random.Generator,
) -> Network:
    """Draw signs and kinetic constants, one of each for every group of edges."""
    n, group = len(edges.strength), edges.group
    # the members of a complex share their role, that of its first one
    first = edges.source[np.unique(group, return_index=True)[1]]
    role = np.where(rng.random(len(level)) < config.activators, 1, -1)[first]
    sign = np.where(rng.random(n) < SAME_SIGN, role, -role)
    sign = np.where(edges.strength == WEAK_COMMON, 1, sign)[group].astype(np.int8)
    if edges.known_sign is not None:
        sign = np.where(edges.known_sign != 0, edges.known_sign, sign).astype(np.int8)
    log_fold = np.log(config.fold) * np.exp(config.fold_sd * rng.standard_normal(n) / 2)
    hill = np.clip(config.hill + 0.25 * rng.standard_normal(n), 0.5, None)
    log_half = np.clip(0.3 * rng.standard_normal(n), -1, 1)
    openness = config.openness * np.exp(0.5 * rng.standard_normal(len(level)))
    return Network(
        edges.source, edges.target, group, sign, (log_fold * edges.strength)[group], hill[group],
        log_half[group], edges.feedback, level, module, openness,
    )  # fmt: skip


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
