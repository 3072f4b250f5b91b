"""Networks that a model learns from a screen's cells: fit it, then ask for its graph."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import responses_of
from perturbkit.data.store import store_of
from perturbkit.grn import GRN_METHODS
from perturbkit.grn.explain import checked_limits, strongest
from perturbkit.grn.from_model import from_model
from perturbkit.models import MODELS
from perturbkit.train.cells import cell_data
from perturbkit.train.config import TrainConfig
from perturbkit.train.profiles import FitData, MemberPlan, fit_member

N_EPOCHS = 4
"""of a fit for the network alone: it needs the readouts' dispersions, which settle early"""


def is_learned(method: str) -> bool:
    """Whether a name is that of a model which learns a network."""
    return method in MODELS and hasattr(MODELS[method].model, "graph")


def gives_rates(method: str) -> bool:
    """Whether a method, or a model that learns a network, gives false discovery rates.

    Raises:
        UnknownNameError: neither is called so.
    """
    return is_learned(method) or GRN_METHODS[method].calibrated


def learned_network(
    screen: Screen, method: str, rng: np.random.Generator, *,
    max_fdr: float | None = None, n_edges: int | None = None,
) -> Graph:  # fmt: skip
    """Fit a model to every cell of a screen, with its usual settings, and return its network.

    Args:
        screen: cells.
        method: the name of a model that learns a network.
        rng: source of randomness.
        max_fdr: keep edges up to this false discovery rate.
        n_edges: keep so many of the strongest.

    Raises:
        ConfigError: a limit out of range.
        SchemaError: the screen holds profiles, or nothing that the model can learn from.
    """
    checked_limits(max_fdr, n_edges)
    card = MODELS[method]
    cells = None
    truth = responses_of(screen, rng)
    if screen.level == "cells":
        cells = cell_data(store_of(screen), truth, (), rng)
    settings = {**card.train, "n_epochs": N_EPOCHS, "patience": 0}
    plan = MemberPlan(
        card, card.config.parse({}), TrainConfig.parse(settings), int(rng.integers(2**31)), 0
    )
    model = fit_member(plan, FitData(truth, None, None, cells), None, None)
    return strongest(from_model(model), max_fdr=max_fdr, n_edges=n_edges)
