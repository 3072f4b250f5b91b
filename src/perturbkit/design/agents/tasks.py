"""Simulated screens to train agents on: worlds, what is said to be known of them, and outcomes.

Each world plays the part of biology as the real screens show it: essential genes are left out of
the pool but their pathways are known; the network that is given is the skeleton of the true one
with edges missing and false edges that favour hubs, and genes of one complex linked; a score
reads out some genes and the complexes behind them, with noise; the most extreme are the hits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.core.errors import DivergedError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.sets import set_graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.simulate import SimulationConfig, World, draw_world
from perturbkit.data.simulate.network import reachable
from perturbkit.design.agents.curriculum import Stage
from perturbkit.design.agents.episode import DesignTask
from perturbkit.design.agents.features import PoolView
from perturbkit.design.knowledge import Knowledge, knowledge_of, standard
from perturbkit.design.tables import TOP_SHARE, HitTable

ESSENTIAL_SHARE = 0.1
N_ROUNDS = 5
N_ATTEMPTS = 8
BATCH_SHARE = (0.01, 0.08)
"""Range of the share of the pool in a batch: in pools this small, less would teach nothing."""
WIDTH = 32


@dataclass(frozen=True, eq=False)
class TrainingWorld:
    """A simulated world with its knock-outs, from which screens are drawn."""

    names: tuple[str, ...]
    """the pool: genes that are not essential"""
    effect_cg: np.ndarray
    """float32, log fold change of every gene when one of the pool is knocked out"""
    module_g: np.ndarray
    """int64, module of each gene"""
    complex_c: np.ndarray
    """int64, complex of each of the pool; a few genes of one module"""
    view: PoolView
    stage: Stage = field(repr=False)

    def draw(self, rng: np.random.Generator) -> DesignTask:
        """Draw a readout, noise and a batch size: one screen."""
        readout = draw_readout(self.effect_cg, self.module_g, rng)
        part = draw_complexes(self.complex_c, rng)
        share = rng.uniform(0, 1)
        score = (1 - share) * readout + share * part
        spread = np.exp(rng.uniform(*np.log(self.stage.noise)))
        score = unit_tail(score) + spread * rng.standard_normal(len(score))
        table = HitTable("simulated", self.names, score, most_extreme(score))
        share = np.exp(rng.uniform(*np.log(BATCH_SHARE)))
        return DesignTask(table, self.view, N_ROUNDS, max(4, round(share * len(self.names))))


def most_extreme(score_c: np.ndarray) -> np.ndarray:
    """Return the 5 % of scores furthest from the median, bool [c]: the rule of real screens."""
    away = np.abs(score_c - np.median(score_c))
    hit = np.zeros(len(score_c), bool)
    hit[np.argsort(-away, kind="stable")[: max(1, round(TOP_SHARE * len(score_c)))]] = True
    return hit


def draw_readout(
    effect_cg: np.ndarray, module_g: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return a readout of each knock-out, float64 [c]: some genes' changes, and a little growth.

    Half of the readouts are genes of one module, half are any genes.
    """
    members = np.arange(effect_cg.shape[1])
    if rng.random() < 0.5:
        members = np.flatnonzero(module_g == rng.choice(module_g))
    size = min(len(members), int(rng.integers(2, 16)))
    reads = rng.choice(members, size, replace=False)
    weight = rng.exponential(size=size) * np.where(rng.random(size) < 0.8, 1, -1)
    score = np.clip(effect_cg[:, reads], -3, 3) @ weight
    growth = np.clip(standard(np.sqrt((effect_cg**2).mean(1))), -1, 4) / 3
    return unit_tail(score) - rng.uniform(0, 0.4) * growth


def draw_complexes(complex_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what the loss of a complex behind the readout does, float64 [c]: 0 for most genes."""
    labels = np.unique(complex_c)
    behind = rng.choice(labels, min(len(labels), int(rng.integers(2, 9))), replace=False)
    score = np.zeros(len(complex_c))
    for label in behind:
        members = np.flatnonzero(complex_c == label)
        sign = 1 if rng.random() < 0.5 else -1
        score[members] = sign * np.exp(0.5 * rng.standard_normal(len(members)))
    return unit_tail(score)


def unit_tail(score_c: np.ndarray) -> np.ndarray:
    """Return scores in units of what the 3 % furthest from the median reach."""
    away = score_c - np.median(score_c)
    scale = float(np.quantile(np.abs(away), 0.97))
    if scale <= 1e-9:
        scale = float(np.abs(away).max()) or 1.0
    return away / scale


def draw_training_world(
    stage: Stage, rng: np.random.Generator, topologies: Sequence[Graph] = ()
) -> TrainingWorld:
    """Draw a world of a stage and what is known of it.

    Args:
        stage: size, noise, density, feedback.
        rng: source of randomness.
        topologies: directed networks; where given, a stage that uses them takes part of one as
            its wiring instead of a random one.

    Raises:
        DivergedError: no wiring of several has a steady state.
    """
    for attempt in range(N_ATTEMPTS):
        try:
            return _draw_world(stage, rng, topologies)
        except DivergedError:  # feedback without a steady state: no living cell either
            if attempt == N_ATTEMPTS - 1:
                raise
    raise AssertionError


def _draw_world(
    stage: Stage, rng: np.random.Generator, topologies: Sequence[Graph]
) -> TrainingWorld:
    n = int(rng.integers(*stage.n_genes))
    config = SimulationConfig(
        n_genes=n, n_contexts=1, n_perturbations=20, kind="ko", network=stage.network
    )
    topology = None
    if topologies and rng.random() < stage.real_topologies:
        topology = part_of(topologies[int(rng.integers(len(topologies)))], n, rng)
    world = draw_world(config, rng, topology)
    context = world.contexts[0]
    rest, moved = world.log_levels(Condition((g,), context, "ko") for g in world.genes)
    effect = (moved - rest).astype(np.float32)
    growth = np.sqrt((np.clip(effect, -3, 3) ** 2).mean(1)) * np.exp(
        0.3 * rng.normal(size=len(rest))
    )
    essential = growth >= np.quantile(growth, 1 - ESSENTIAL_SHARE)
    pool = np.flatnonzero(~essential)
    names = tuple(world.genes[int(i)] for i in pool)
    listed = [world.genes[int(i)] for i in np.flatnonzero(essential) if rng.random() < 0.8]
    module = world.network.module
    label = cut_in_complexes(module, rng)
    known = draw_knowledge(world, names, listed, (label, stage), rng)
    return TrainingWorld(names, effect[pool], module, label[pool], PoolView(known), stage)


def cut_in_complexes(module_g: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal the genes of each module to complexes of 3 to 12, int64 [g]."""
    order = np.lexsort((rng.random(len(module_g)), module_g))
    label = np.empty(len(module_g), np.int64)
    current, left, last = -1, 0, -1
    for gene in order:
        if left == 0 or module_g[gene] != last:
            current, left, last = current + 1, int(rng.integers(3, 13)), int(module_g[gene])
        label[gene] = current
        left -= 1
    return label


def part_of(graph: Graph, n: int, rng: np.random.Generator) -> Graph:
    """Return about n genes of a network: regulators by chance, and who they regulate."""
    regulators = rng.permutation(np.unique(graph.source))
    inside = np.zeros(len(graph.nodes), bool)
    for regulator in regulators:
        targets = graph.target[graph.source == regulator]
        inside[regulator] = True
        # large regulons are cut, else one of them is the whole world
        inside[rng.permutation(targets)[: max(3, n // 10)]] = True
        if inside.sum() >= n:
            break
    nodes = Vocabulary([graph.nodes[int(i)] for i in np.flatnonzero(inside)], "node")
    return graph.within(nodes)


def draw_knowledge(
    world: World,
    names: Sequence[str],
    essentials: Sequence[str],
    setting: tuple[np.ndarray, Stage],
    rng: np.random.Generator,
) -> Knowledge:
    """Return what is said to be known of a world: two noisy networks and gene sets.

    Args:
        world: the truth.
        names: the pool.
        essentials: listed essential genes.
        setting: the complex of each gene, and the stage.
        rng: source of randomness.
    """
    complex_g, stage = setting
    net, genes = world.network, list(world.genes)
    inside = _mates(complex_g)
    both = np.r_[net.source, inside[0]], np.r_[net.target, inside[1]]
    networks = {
        name: _graph(genes, blurred(*ends, net.module, stage, rng), name)
        for name, ends in (("first", both), ("second", inside))
    }
    sets = {"sets": set_graph(_gene_sets(world, rng), Provenance(name="simulated sets"))}
    return knowledge_of(names, networks, sets, rng, essentials=essentials, width=WIDTH)


def blurred(
    source: np.ndarray, target: np.ndarray, module: np.ndarray, stage: Stage,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return edges of which some are lost, and false ones that favour hubs added.

    Args:
        source: true edges, one end.
        target: the other.
        module: of each gene.
        stage: says how many are kept and how many false ones come in.
        rng: source of randomness.
    """
    n = len(module)
    kept = rng.random(len(source)) < rng.uniform(*stage.edges_kept)
    n_false = round(len(source) * rng.uniform(*stage.edges_false))
    weight = (np.bincount(np.r_[source, target], minlength=n) + 1.0) ** rng.uniform(0, 1)
    ends = rng.choice(n, (2, n_false), p=weight / weight.sum())
    same = rng.choice(n, n_false // 2)
    order = np.argsort(module, kind="stable")
    size = np.bincount(module)
    first = (np.cumsum(size) - size)[module[same]]
    partner = order[first + (rng.random(len(same)) * size[module[same]]).astype(np.int64)]
    return np.r_[source[kept], ends[0], same], np.r_[target[kept], ends[1], partner]


def _mates(complex_g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of genes of one complex."""
    a, b = np.nonzero(np.triu(complex_g[:, None] == complex_g, 1))
    return a, b


def _graph(genes: list[str], ends: tuple[np.ndarray, np.ndarray], name: str) -> Graph:
    a, b = ends
    keep = a != b
    low, high = np.minimum(a, b)[keep], np.maximum(a, b)[keep]
    code = np.unique(low * len(genes) + high)
    code = code if len(code) else np.array([1])
    return Graph(
        Vocabulary(genes, "node"), (code // len(genes)).astype(np.int32),
        (code % len(genes)).astype(np.int32), np.ones(len(code), np.float32),
        np.zeros(len(code), np.int8), directed=False, provenance=Provenance(name=name),
    )  # fmt: skip


def _gene_sets(world: World, rng: np.random.Generator) -> dict[str, list[str]]:
    """Modules, the descendants of some regulators, and sets that mean nothing; each imperfect."""
    net, genes = world.network, np.array(list(world.genes), dtype=object)
    n, found = len(genes), []
    found += [np.flatnonzero(net.module == m) for m in np.unique(net.module)]
    reach = reachable(net.source, net.target, net.n_genes)
    tops = np.flatnonzero(net.is_regulator)
    for i in rng.permutation(tops)[: max(5, n // 20)]:
        found.append(np.r_[i, np.flatnonzero(reach[i])])
    found += [rng.choice(n, int(rng.integers(5, 40)), replace=False) for _ in range(n // 20)]
    sets = {}
    for i, members in enumerate(found):
        some = members[rng.random(len(members)) < rng.uniform(0.3, 0.9)][:80]
        more = rng.choice(n, 1 + len(some) // 5, replace=False)
        sets[f"set {i}"] = sorted(set(genes[np.r_[some, more].astype(np.int64)]))
    return sets
