"""The embedded default: a screen of a simulated gene network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.config import merge
from perturbkit.core.screen import Screen
from perturbkit.data.screens.card import ScreenCard


def read(path: Path | None, options: Mapping[str, Any], rng: np.random.Generator) -> Screen:
    """Simulate a screen; the options are those of the simulator, over a `preset` if one is named.

    Raises:
        ConfigError: an option is unknown or out of range.
        UnknownNameError: no such preset.
    """
    from perturbkit.data.simulate import SimulationConfig, preset, simulate

    del path
    values = dict(options)
    start = preset(str(values.pop("preset"))).plain() if "preset" in values else {}
    return simulate(SimulationConfig.parse(merge(start, values), "simulated"), rng).screen


card = ScreenCard(
    name="simulated",
    summary="cells of a simulated gene network whose truth is known; needs no file",
    source="perturbkit's simulator: Hill kinetics on a directed network, negative-binomial counts",
    read=read,
    organism="none",
    licence="Apache-2.0",
    url="https://github.com/perturbkit/perturbkit",
    unit="counts",
    holds="cells in counts; genes, perturbations, contexts and cells as the options say",
)
