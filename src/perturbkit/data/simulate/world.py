"""The simulated world: a network in several contexts that answers any perturbation of its genes."""

from collections.abc import Iterable
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import Condition, condition_table, conditions_of
from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.simulate.counts import (
    Cells,
    batch_factors,
    library_sizes,
    programme_loadings,
    sample_counts,
)
from perturbkit.data.simulate.kinetics import Doses, steady_states
from perturbkit.data.simulate.network import Network, draw_network, network_on
from perturbkit.data.simulate.settings import SimulationConfig

SILENCED = np.log(0.05)
"""Log factor on the basal production of a gene that is off in a context."""
ABUNDANCE_SD = 1.0
LEAST = 1e-3
"""Share of production or transcript that even a perfect knock-down leaves."""


@dataclass(frozen=True, eq=False)
class World:
    """Everything that is true of a simulated system; `respond` and `measure` ask it."""

    config: SimulationConfig
    network: Network
    genes: Vocabulary
    """every gene, all of them readouts and possible targets"""
    contexts: Vocabulary
    active_xe: np.ndarray
    """bool [contexts, e], the edges that work in each context"""
    log_basal_xg: np.ndarray
    """float64 [contexts, g], log basal production"""
    log_abundance_g: np.ndarray
    """float64 [g], log transcripts of a gene at level 1, on any scale"""
    log_dose_xg: np.ndarray
    """float64 [contexts, g], log factor on a gene's production when it is perturbed"""
    loading_kg: np.ndarray
    """float32 [programmes, g], log change of each gene per unit of each programme of the cells"""

    def controls(self) -> list[Condition]:
        """Return the control of every context."""
        return [Condition(context=x, kind=self.config.kind) for x in self.contexts]

    def log_levels(self, conditions: Iterable[Condition]) -> tuple[np.ndarray, np.ndarray]:
        """Return natural log levels of all genes, float64 [c, g]: at rest, and perturbed.

        Their difference is the true change of absolute expression; genes that no perturbed gene
        reaches do not change.

        Raises:
            UnknownNameError: a gene or context that is not in this world.
            DivergedError: feedback keeps the network from settling.
        """
        conditions = list(conditions)
        at = self.contexts.encode(c.context for c in conditions)
        rest = np.empty((len(conditions), len(self.genes)))
        perturbed = np.empty_like(rest)
        for x in np.unique(at):
            rows = np.flatnonzero(at == x)
            doses = self._doses([conditions[i] for i in rows], int(x))
            rest[rows], perturbed[rows] = steady_states(
                self.network, self.active_xe[x], self.log_basal_xg[x], doses, len(rows)
            )
        return rest, perturbed

    def _doses(self, conditions: list[Condition], x: int) -> Doses:
        pairs = [(t, i) for i, c in enumerate(conditions) for t in c.targets]
        gene = self.genes.encode(t for t, _ in pairs)
        knock_out = self.config.kind == "ko"
        return Doses(
            gene=gene,
            condition=np.array([i for _, i in pairs], np.int64),
            log_production=self.log_dose_xg[x, gene],
            log_activity=np.full(len(gene), -np.inf if knock_out else 0.0),
        )

    def expected(self, conditions: Iterable[Condition]) -> tuple[np.ndarray, np.ndarray]:
        """Return expected shares of transcripts, float64 [c, g]: of control and of perturbed cells.

        Perturbed cells here are those in which the perturbation worked.
        """
        return tuple(  # pyright: ignore[reportReturnType]
            _shares(log_cg + self.log_abundance_g) for log_cg in self.log_levels(conditions)
        )

    def respond(self, conditions: Iterable[Condition] | pl.DataFrame) -> Responses:
        """Return the true responses, log1p of expected counts per 10 k, without noise.

        Any genes of the world may be perturbed, alone or together, in any of its contexts.

        Args:
            conditions: conditions, or a table of them, whose `n_cells` is kept.

        Raises:
            UnknownNameError: a gene or context that is not in this world.
        """
        table = conditions if isinstance(conditions, pl.DataFrame) else condition_table(conditions)
        return self.responses_of(table, self.expected(conditions_of(table)))

    def responses_of(
        self, table: pl.DataFrame, expected: tuple[np.ndarray, np.ndarray]
    ) -> Responses:
        """Return the true responses to a table of conditions, given what `expected` said of it."""
        rest, worked = expected
        escape = self.config.efficacy.escape
        mixed = worked + escape * (rest - worked) if escape else worked
        values = np.log1p(1e4 * mixed).astype(np.float32)
        return Responses(values[None], table, Vocabulary(self.genes, "readout"), "log1p_cp10k")

    def measure(
        self,
        conditions: Iterable[Condition] | pl.DataFrame,
        n_cells: np.ndarray | int,
        rng: np.random.Generator,
    ) -> Screen:
        """Count cells of each condition: an experiment with its own batches.

        Args:
            conditions: conditions or a table of them, at least one a control.
            n_cells: cells of each condition.
            rng: source of randomness.

        Raises:
            SchemaError: no control among the conditions, or no cells.
            UnknownNameError: a gene or context that is not in this world.
        """
        table = conditions if isinstance(conditions, pl.DataFrame) else condition_table(conditions)
        asked = conditions_of(table)
        return self.count(asked, self.expected(asked), n_cells, rng)

    def count(
        self,
        asked: list[Condition],
        expected: tuple[np.ndarray, np.ndarray],
        n_cells: np.ndarray | int,
        rng: np.random.Generator,
    ) -> Screen:
        """Count cells of conditions, given what `expected` said of them; see `measure`."""
        if not any(c.is_control for c in asked):
            message = "no control among the conditions; add World.controls() to what is measured"
            raise SchemaError(message)
        counts = np.broadcast_to(np.asarray(n_cells, np.int64), len(asked))
        rest, worked = expected
        context = self.contexts.encode(c.context for c in asked)
        settings = self.config.cells
        code, batch = _deal(counts, context, settings.n_batches, rng)
        control = np.array([c.is_control for c in asked])
        escaped = (rng.random(len(code)) < self.config.efficacy.escape) & ~control[code]
        factors = batch_factors(
            settings, len(self.contexts) * settings.n_batches, len(self.genes), rng
        )
        cells = Cells(code + len(asked) * escaped, batch, library_sizes(settings, len(code), rng))
        x_ng = sample_counts(
            np.concatenate([worked, rest]), cells, factors,
            self.loading_kg, settings.dispersion, rng,
        )  # fmt: skip
        obs = self._obs(asked, code, batch)
        if self.config.efficacy.escape:
            obs["escaped"] = escaped
        var = pd.DataFrame(index=pd.Index(list(self.genes), name="gene"))
        return Screen.of(ad.AnnData(X=x_ng, obs=obs, var=var), level="cells", unit="counts")

    def _obs(self, asked: list[Condition], code: np.ndarray, batch: np.ndarray) -> pd.DataFrame:
        n_batches = self.config.cells.n_batches
        names = [f"{x}-b{k + 1}" for x in self.contexts for k in range(n_batches)]
        labels = sorted({c.perturbation for c in asked})
        place = {label: i for i, label in enumerate(labels)}
        of_condition = np.array([place[c.perturbation] for c in asked])
        context = self.contexts.encode(c.context for c in asked)
        columns = {
            "perturbation": pd.Categorical.from_codes(of_condition[code], pd.Index(labels)),
            "context": pd.Categorical.from_codes(context[code], pd.Index(list(self.contexts))),
            "kind": pd.Categorical.from_codes(
                np.zeros(len(code), np.int8), pd.Index([self.config.kind])
            ),
            "batch": pd.Categorical.from_codes(batch, pd.Index(names)),
        }
        return pd.DataFrame(columns, index=pd.Index([f"cell{i:07d}" for i in range(len(code))]))

    def graph(self) -> Graph:
        """Return the true direct edges.

        The weight is the absolute log fold change between absent and saturating regulator.
        Columns: `feedback`, and for each context `works in <context>`.
        """
        net = self.network
        works = {f"works in {x}": self.active_xe[i] for i, x in enumerate(self.contexts)}
        return Graph(
            Vocabulary(self.genes, "node"), net.source.astype(np.int32),
            net.target.astype(np.int32), net.log_fold.astype(np.float32), net.sign,
            directed=True, provenance=Provenance(name="simulated", licence="Apache-2.0"),
            columns={"feedback": net.feedback, **works},
        )  # fmt: skip


def draw_world(
    config: SimulationConfig, rng: np.random.Generator, topology: Graph | None = None
) -> World:
    """Draw a network, contexts and efficacies.

    Args:
        config: the settings; `n_genes` and the shape of the network give way to `topology`.
        rng: source of randomness.
        topology: a directed graph whose edges are to be the network.

    Raises:
        SchemaError: the topology is not directed or has no edges.
    """
    if topology is None:
        network = draw_network(config.network, config.n_genes, rng)
        width = max(4, len(str(config.n_genes)))
        genes = Vocabulary((f"G{i + 1:0{width}d}" for i in range(config.n_genes)), "gene")
    else:
        if not topology.directed or not topology.n_edges:
            message = f"{topology!r} cannot be a gene network; give a directed graph with edges"
            raise SchemaError(message)
        network = network_on(topology, config.network, rng)
        genes = Vocabulary(topology.nodes, "gene")
    n_genes = len(genes)
    contexts = Vocabulary((f"line{i + 1}" for i in range(config.n_contexts)), "context")
    active, basal = _draw_contexts(config, network, rng)
    abundance = ABUNDANCE_SD * np.clip(rng.standard_normal(n_genes), -2, 2)
    dose = _draw_doses(config, n_genes, rng)
    loading = programme_loadings(config.cells, n_genes, rng)
    return World(config, network, genes, contexts, active, basal, abundance, dose, loading)


def _draw_contexts(
    config: SimulationConfig, network: Network, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return which edges work in each context and the log basal production there."""
    n, settings = config.n_contexts, config.context
    n_groups, n_genes = network.n_groups, network.n_genes
    active = rng.random((n, n_groups)) >= settings.edge_difference
    active[rng.integers(n, size=n_groups), np.arange(n_groups)] = True
    active = active[:, network.group]
    if n == 1:
        return active, np.zeros((1, n_genes))
    spread = settings.basal_sd * np.sqrt(0.5)
    by_module = rng.standard_normal((n, int(network.module.max()) + 1))[:, network.module]
    basal = spread * (by_module + rng.standard_normal((n, n_genes)))
    basal += SILENCED * (rng.random((n, n_genes)) < settings.silenced)
    return active, basal


def _draw_doses(config: SimulationConfig, n_genes: int, rng: np.random.Generator) -> np.ndarray:
    """Return the log factor on production of each gene when perturbed, [contexts, g].

    Half of the spread belongs to the gene (its guide), half to gene and context.
    """
    settings, shape = config.efficacy, (config.n_contexts, n_genes)
    noise = settings.sd * np.sqrt(0.5) * (rng.standard_normal(n_genes) + rng.standard_normal(shape))
    if config.kind == "ko":
        return np.full(shape, np.log(max(settings.ko_rna, LEAST)))
    if config.kind == "crispra":
        return np.log(settings.activation) * np.exp(noise)
    left = np.clip(1 - settings.knockdown, LEAST, 1 - LEAST)
    odds = np.log(left / (1 - left)) + noise
    return np.log(np.clip(1 / (1 + np.exp(-odds)), LEAST, 1))


def _shares(log_cg: np.ndarray) -> np.ndarray:
    shares = np.exp(log_cg - log_cg.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def _deal(
    counts: np.ndarray, context: np.ndarray, n_batches: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return condition and batch of each cell: contexts together, conditions shuffled within.

    The cells of a condition are dealt to the batches of its context in turn.
    """
    code = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(code)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = rng.integers(n_batches, size=len(counts))
    batch = context[code] * n_batches + (within + start[code]) % n_batches
    order = np.lexsort((rng.random(len(code)), context[code]))
    return code[order], batch[order]
