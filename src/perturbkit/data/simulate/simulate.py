"""A whole simulated screen: settings in; cells, true responses, network and hierarchy out."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from perturbkit.core.condition import Condition, condition_keys, condition_table, conditions_of
from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.data.simulate.settings import SimulationConfig
from perturbkit.data.simulate.world import World, draw_world


@dataclass(frozen=True, eq=False)
class Simulated:
    """A screen and everything that is true of it."""

    screen: Screen
    """cells, counts in sparse float32; controls in each context and batch"""
    responses: Responses
    """true responses without noise, log1p of expected counts per 10 k, the controls first; a
    condition without cells in the screen has `n_cells` 0"""
    graph: Graph
    """true direct edges with their signs"""
    levels: np.ndarray
    """int64 [g], level of each readout in the hierarchy; 0 is a master regulator"""
    world: World
    """what answers further conditions: `world.respond`, `world.measure`"""


def simulate(
    config: SimulationConfig, rng: np.random.Generator, *, topology: Graph | None = None
) -> Simulated:
    """Simulate a perturbation screen; the same settings and generator give the same bits.

    Args:
        config: the settings.
        rng: source of randomness.
        topology: a directed graph to use as the network, instead of drawing one.

    Returns:
        Cells, true responses of conditions with and without cells, network and levels.

    Raises:
        SchemaError: the topology cannot be a network, or has fewer genes than perturbations.
        DivergedError: feedback keeps the network from settling.
    """
    world_rng, plan_rng, cell_rng = (_child(rng) for _ in range(3))
    world = draw_world(config, world_rng, topology)
    conditions, n_cells = _plan(config, world, plan_rng)
    table = condition_table(conditions).with_columns(n_cells=pl.Series(n_cells))
    if config.truth == "genes":
        table = _with_every_gene(table, world)
    asked = conditions_of(table)
    expected = world.expected(asked)
    rows = np.flatnonzero(table["n_cells"].to_numpy() > 0)
    of_rows = (expected[0][rows], expected[1][rows])
    counts = table["n_cells"].to_numpy()[rows]
    screen = world.count([asked[i] for i in rows], of_rows, counts, cell_rng)
    if config.truth == "screen":
        table, expected = table[rows], of_rows
    responses = world.responses_of(table, expected)
    return Simulated(screen, responses, world.graph(), world.network.level, world)


def _child(rng: np.random.Generator) -> np.random.Generator:
    """Return a generator of its own, so that one part's draws do not shift another's."""
    return np.random.default_rng(rng.integers(2**63, size=4))


def _plan(
    config: SimulationConfig, world: World, rng: np.random.Generator
) -> tuple[list[Condition], np.ndarray]:
    """Return the conditions, controls first, and how many cells each has; 0 is not measured."""
    singles = _targets(config, world, rng)
    module = world.network.module[world.genes.encode(singles)]
    first, second = _pairs(module, config.n_doubles, config.related_doubles, rng)
    sets = [(g,) for g in singles]
    sets += [(singles[a], singles[b]) for a, b in zip(first, second, strict=True)]
    shape = (len(sets), len(world.contexts))
    covered = rng.random(shape) < config.coverage
    covered[np.arange(len(sets)), rng.integers(shape[1], size=len(sets))] = True
    spread = config.n_cells_sd
    amount = config.n_cells * np.exp(spread * rng.standard_normal(shape) - spread**2 / 2)
    amount = np.maximum(np.rint(amount), min(2, config.n_cells)).astype(np.int64) * covered
    conditions = [
        Condition(targets=t, context=x, kind=config.kind) for t in sets for x in world.contexts
    ]
    controls = np.full(len(world.contexts), config.n_control_cells, np.int64)
    return [*world.controls(), *conditions], np.concatenate([controls, amount.ravel()])


def _targets(config: SimulationConfig, world: World, rng: np.random.Generator) -> list[str]:
    """Choose the perturbed genes, so many regulators as there are and as are wanted."""
    n, is_regulator = config.n_perturbations, world.network.is_regulator
    if n > len(world.genes):
        message = f"the topology has {len(world.genes)} genes and {n} perturbations are asked for"
        raise SchemaError(message)
    yes = rng.permutation(np.flatnonzero(is_regulator))
    no = rng.permutation(np.flatnonzero(~is_regulator))
    n_yes = min(len(yes), round(config.regulator_targets * n))
    n_yes = max(n_yes, n - len(no))
    chosen = np.sort(np.concatenate([yes[:n_yes], no[: n - n_yes]]))
    return [world.genes[int(i)] for i in chosen]


def _pairs(
    module: np.ndarray, k: int, related: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose k pairs of perturbed genes, a share of them of one module; as positions."""
    n = len(module)
    first, second = np.nonzero((module[:, None] == module) & np.tri(n, k=-1, dtype=bool).T)
    n_related = min(len(first), round(related * k))
    codes = rng.permutation(first * n + second)[:n_related]
    while len(codes) < k:
        a, b = np.sort(rng.integers(n, size=(2, 2 * k)), axis=0)
        new = np.concatenate([codes, (a * n + b)[a < b]])
        codes = new[np.sort(np.unique(new, return_index=True)[1])][:k]
    codes = np.sort(codes)
    return codes // n, codes % n


def _with_every_gene(table: pl.DataFrame, world: World) -> pl.DataFrame:
    """Add every gene alone in every context, without cells where it has none."""
    kind = world.config.kind
    every = [Condition(targets=(g,), context=x, kind=kind) for g in world.genes
             for x in world.contexts]  # fmt: skip
    known = set(condition_keys(table))
    new = condition_table([c for c in every if c.key not in known])
    return pl.concat([table, new.with_columns(n_cells=pl.lit(0, pl.Int64))])
