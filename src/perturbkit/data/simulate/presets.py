"""Named settings that other parts of the package, its tests and its benchmarks share."""

from perturbkit.core.errors import unknown_name
from perturbkit.data.simulate.settings import (
    CellConfig,
    ContextConfig,
    EfficacyConfig,
    NetworkConfig,
    SimulationConfig,
)


def tiny() -> SimulationConfig:
    """Return 60 genes in 2 contexts, under a tenth of a second: for tests."""
    return SimulationConfig(
        n_genes=60, n_contexts=2, n_perturbations=20, n_doubles=6, n_cells=20,
        n_control_cells=60, network=NetworkConfig(regulators=0.3),
    )  # fmt: skip


def demo() -> SimulationConfig:
    """Return the embedded default: 300 genes, 60 single and 20 double knock-downs, 3 lines."""
    return SimulationConfig(n_perturbations=60, n_doubles=20)


def planted_edges() -> SimulationConfig:
    """Return 5,000 cells x 1,000 genes, 100 perturbations, one context, about 1,000 counts a cell.

    For network inference: every perturbed gene is a regulator, the hierarchy is shallow, and no
    complexes make edges indistinguishable.
    """
    return SimulationConfig(
        n_genes=1000, n_contexts=1, n_perturbations=100, n_cells=40, n_control_cells=1000,
        regulator_targets=1.0,
        network=NetworkConfig(regulators=0.12, n_levels=3, mean_regulators=2.5, complexes=0.0,
                              common_response=0.0),
    )  # fmt: skip


def four_contexts() -> SimulationConfig:
    """Return 300 genes, 100 knock-downs in 4 contexts that share most of the network."""
    return SimulationConfig(
        n_contexts=4, n_control_cells=300, context=ContextConfig(edge_difference=0.2),
        efficacy=EfficacyConfig(sd=0.5), cells=CellConfig(n_programmes=3),
    )  # fmt: skip


def combinations() -> SimulationConfig:
    """Return 200 genes, 40 activated alone and 150 of their pairs, in one context."""
    return SimulationConfig(
        n_genes=200, n_contexts=1, n_perturbations=40, n_doubles=150, kind="crispra",
        n_control_cells=500,
    )  # fmt: skip


PRESETS = {f.__name__: f for f in (tiny, demo, planted_edges, four_contexts, combinations)}
"""Functions that return settings, by name."""


def preset(name: str) -> SimulationConfig:
    """Return the settings of a preset.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]()
