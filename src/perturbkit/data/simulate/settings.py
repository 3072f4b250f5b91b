"""The settings of a simulated screen: sizes, network, contexts, perturbations and cells."""

from math import comb
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perturbkit.core.config import Config

MAX_ENTRIES = 500_000_000
"""Expected non-zero counts, and true values, beyond which a screen is refused, not attempted."""

Share = Annotated[float, Field(ge=0, le=1)]


class NetworkConfig(Config):
    """The shape and strength of the gene network."""

    regulators: Annotated[float, Field(gt=0, le=1)] = 0.3
    """share of genes that regulate others; transcription factors alone are 0.03 to 0.08 of all
    genes, genes whose loss changes others far more"""
    n_levels: Annotated[int, Field(ge=2, le=12)] = 4
    """levels of the hierarchy, master regulators being level 0"""
    n_modules: Annotated[int, Field(ge=0, le=500)] = 0
    """modules of genes regulated together; 0 makes one for every 25 genes"""
    within_module: Share = 0.8
    """share of edges whose ends lie in one module, as far as its levels allow"""
    mean_regulators: Annotated[float, Field(ge=1, le=20)] = 4.0
    """regulators of a gene below level 0, on average"""
    exponent: Annotated[float, Field(gt=1.2, le=6)] = 2.3
    """exponent of the power law of out-degrees; smaller makes larger hubs"""
    complexes: Share = 0.5
    """chance that a regulator joins the complex of another of its module and level; a complex
    acts only as far as all its members are there, so their perturbations look alike"""
    common_response: Share = 0.6
    """share of upper regulators that feed one integrator, such as growth, whose targets then
    respond to most strong perturbations; 0 makes none"""
    feedback: Annotated[float, Field(ge=0, le=0.3)] = 0.05
    """feedback edges, as a share of the edges between regulators; each closes a cycle"""
    activators: Share = 0.75
    """share of regulators that mostly activate; the others mostly repress"""
    fold: Annotated[float, Field(gt=1, le=100)] = 5.0
    """median fold change between an edge's absent and saturating regulator"""
    fold_sd: Annotated[float, Field(ge=0, le=2)] = 0.4
    """standard deviation of the log of that fold change"""
    hill: Annotated[float, Field(ge=0.5, le=8)] = 1.8
    """mean Hill coefficient"""
    openness: Annotated[float, Field(ge=0, le=100)] = 0.5
    """median promoter occupancy odds at rest: 0 makes effects multiply, larger saturates them"""


class ContextConfig(Config):
    """How contexts (cell lines) differ."""

    basal_sd: Annotated[float, Field(ge=0, le=3)] = 0.4
    """standard deviation of log basal production between contexts, half of it by module"""
    edge_difference: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """share of edges that do nothing in a context; each edge works in at least one context"""
    silenced: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """share of genes nearly off in a context; never in a single one"""


class EfficacyConfig(Config):
    """How well perturbations work."""

    knockdown: Annotated[float, Field(gt=0, le=1)] = 0.85
    """CRISPRi: mean share of production that is lost"""
    activation: Annotated[float, Field(gt=1, le=100)] = 4.0
    """CRISPRa: fold change of production"""
    ko_rna: Share = 0.3
    """knock-out: share of the transcript left; the protein's activity is always lost"""
    sd: Annotated[float, Field(ge=0, le=3)] = 0.0
    """spread of efficacy between genes: standard deviation of the logit of the knock-down, of
    the log of the activation"""
    escape: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of perturbed cells in which the perturbation did not work; truth is the mixture"""


class CellConfig(Config):
    """How cells are counted."""

    umi: Annotated[float, Field(ge=10, le=1e6)] = 1000.0
    """mean counts of a cell"""
    umi_sd: Annotated[float, Field(ge=0, le=2)] = 0.35
    """standard deviation of the log of a cell's counts"""
    dispersion: Annotated[float, Field(ge=0, le=10)] = 0.2
    """a in variance = mean + a mean^2"""
    n_batches: Annotated[int, Field(ge=1, le=50)] = 2
    """batches of each context; every condition has cells in each, where cells suffice"""
    batch_sd: Annotated[float, Field(ge=0, le=2)] = 0.08
    """standard deviation of the log of a gene's capture between batches"""
    n_programmes: Annotated[int, Field(ge=0, le=50)] = 0
    """programmes, such as the cell cycle, in which the cells of a condition differ"""
    programme_sd: Annotated[float, Field(ge=0, le=2)] = 0.3
    """standard deviation of the log expression of a programme's genes between cells"""


class SimulationConfig(Config):
    """A screen whose truth is known: network, responses and hierarchy."""

    n_genes: Annotated[int, Field(ge=20, le=5000)] = 300
    """genes, all of them readouts"""
    n_contexts: Annotated[int, Field(ge=1, le=20)] = 3
    """contexts: `line1`, `line2`, ..."""
    n_perturbations: Annotated[int, Field(ge=1, le=5000)] = 100
    """genes perturbed alone"""
    n_doubles: Annotated[int, Field(ge=0, le=20_000)] = 0
    """pairs of those genes perturbed together"""
    related_doubles: Share = 0.5
    """share of the pairs that lie in one module, as far as there are enough"""
    kind: Literal["crispri", "crispra", "ko"] = "crispri"
    """how genes are perturbed"""
    regulator_targets: Share = 0.7
    """share of perturbed genes that regulate others, as far as there are enough"""
    coverage: Annotated[float, Field(gt=0, le=1)] = 1.0
    """share of perturbation x context pairs with cells; every perturbation has at least one"""
    n_cells: Annotated[int, Field(ge=1, le=100_000)] = 50
    """cells of each condition, on average"""
    n_cells_sd: Annotated[float, Field(ge=0, le=2)] = 0.0
    """standard deviation of the log of the cells of a condition; at least 2 remain"""
    n_control_cells: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """control cells of each context"""
    truth: Literal["screen", "all", "genes"] = "all"
    """conditions with a true response: those with cells; every perturbation in every context;
    or besides these every gene alone in every context"""
    network: NetworkConfig = NetworkConfig()
    context: ContextConfig = ContextConfig()
    efficacy: EfficacyConfig = EfficacyConfig()
    cells: CellConfig = CellConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n_perturbations > self.n_genes:
            message = f"n_perturbations ({self.n_perturbations}) exceeds n_genes ({self.n_genes})"
            raise ValueError(message)
        pairs = comb(self.n_perturbations, 2)
        if self.n_doubles > pairs:
            message = f"n_doubles ({self.n_doubles}) exceeds the {pairs} pairs there are"
            raise ValueError(message)
        if self.network.n_modules > self.n_genes // 2:
            message = f"network.n_modules needs two genes each, and n_genes is {self.n_genes}"
            raise ValueError(message)
        if self.n_entries > MAX_ENTRIES:
            message = (
                f"the screen would hold about {self.n_entries:,.0f} values, more than "
                f"{MAX_ENTRIES:,}; lower n_cells, n_perturbations, n_contexts or n_genes"
            )
            raise ValueError(message)
        return self

    @property
    def n_entries(self) -> float:
        """Stored counts and true values the screen will hold, roughly."""
        conditions = (self.n_perturbations + self.n_doubles) * self.n_contexts
        cells = conditions * self.coverage * self.n_cells + self.n_contexts * self.n_control_cells
        truth = conditions + self.n_contexts * self.n_genes * (self.truth == "genes")
        return cells * min(self.n_genes, self.cells.umi) + truth * self.n_genes
