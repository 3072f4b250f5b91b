"""Explain a screen or a fitted model, by name or path."""

from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.graph import Graph
from perturbkit.core.run import Run
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen
from perturbkit.grn.explain import explain, strongest
from perturbkit.grn.from_model import LearnsGraph, from_model
from perturbkit.grn.imputed import screen_of
from perturbkit.grn.regulators import read_response, regulators


def is_run(source: str | Path) -> bool:
    """Whether a path is a folder made by fit."""
    return (Path(source) / "config.json").is_file()


def screen_of_run(source: str | Path) -> Screen:
    """Return what a run's model predicts for every single perturbation of its screen.

    A model that fills in unmeasured pairs gives a more complete screen than the measured one.
    """
    from perturbkit.recipes.verbs import Fitted

    fitted = Fitted.open(source)
    about = fitted.run.config["screen"]
    screen = open_screen(about["source"], unit=about.get("unit"), **about.get("options", {}))
    singles = [p for p in screen.perturbations if "+" not in p.replace("\\+", "")]
    table = screen.conditions.filter(pl.col("perturbation").is_in(singles)).drop("n_cells")
    return screen_of(fitted.predict(table))


def network_of(
    source: str | Path,
    *,
    method: str,
    rng: np.random.Generator,
    unit: str | None = None,
    max_fdr: float | None = None,
    n_edges: int | None = None,
) -> Graph:
    """Return the network behind a screen, or the one a fitted model has learned or implies.

    Args:
        source: a screen's name or path, or a run's folder.
        method: a name in GRN_METHODS; not used for a model that learns a network.
        rng: source of randomness.
        unit: unit of a file that does not state its own.
        max_fdr: keep edges up to this false discovery rate.
        n_edges: keep so many of the strongest.
    """
    if not is_run(source):
        screen = open_screen(source, unit=unit)
    else:
        from perturbkit.recipes.verbs import Fitted

        model = Fitted.open(Run.open(source)).members[0]
        if isinstance(model, LearnsGraph):
            graph = from_model(model)
            limit = max_fdr if "fdr" in graph.columns else None
            return strongest(graph, max_fdr=limit, n_edges=n_edges)
        screen = screen_of_run(source)
    return explain(screen, method=method, rng=rng, max_fdr=max_fdr, n_edges=n_edges)


def regulators_of(
    source: str | Path,
    response: str | Path,
    rng: np.random.Generator,
    *,
    unit: str | None = None,
) -> pl.DataFrame:
    """Rank the perturbations of a screen or run by how well they explain a response file."""
    screen = screen_of_run(source) if is_run(source) else open_screen(source, unit=unit)
    return regulators(responses_of(screen, rng), read_response(str(response)), rng)
