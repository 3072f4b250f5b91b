"""Explain a screen or a fitted model, by name or path."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.condition import CONTROL, Condition
from perturbkit.core.errors import ConfigError
from perturbkit.core.graph import Graph
from perturbkit.core.run import Run
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen
from perturbkit.graphs.read import read_graph
from perturbkit.grn.explain import explain, strongest
from perturbkit.grn.export import load_graph
from perturbkit.grn.from_model import LearnsGraph, from_model
from perturbkit.grn.imputed import screen_of
from perturbkit.grn.regulators import Response, regulators
from perturbkit.recipes.learned_networks import is_learned, learned_network


def is_run(source: str | Path) -> bool:
    """Whether a path is a folder made by fit."""
    return (Path(source) / "config.json").is_file()


def screen_of_run(source: str | Path, *, impute: bool = False) -> tuple[Screen, list[str]]:
    """Return what a run's model predicts for every single perturbation of its screen.

    A model that fills in unmeasured pairs gives a more complete screen than the measured one.

    Args:
        source: a run's folder.
        impute: also ask for the perturbation of every readout that was never perturbed, in every
            context of the screen and in the way most targets were; what the model refuses is
            left out.

    Returns:
        The screen of profiles, and the targets whose perturbation was measured.
    """
    from perturbkit.recipes.fitted import Fitted

    fitted = Fitted.open(source)
    about = fitted.run.config["screen"]
    screen = open_screen(about["source"], unit=about.get("unit"), **about.get("options", {}))
    singles = [p for p in screen.perturbations if len(Condition.parse(p).targets) <= 1]
    table = screen.conditions.filter(pl.col("perturbation").is_in(singles)).drop("n_cells")
    measured = list(screen.targets)
    if impute:
        table = pl.concat([table, _never_made(screen, table)])
    return screen_of(fitted.predict(table)), measured


def _never_made(screen: Screen, table: pl.DataFrame) -> pl.DataFrame:
    """Return a condition for every unperturbed readout in each context, like the usual ones."""
    asked = [g for g in screen.readouts if g not in screen.targets]
    perturbed = table.filter(pl.col("perturbation") != CONTROL)
    usual = perturbed.group_by("context", maintain_order=True).agg(
        pl.exclude("perturbation").mode().first()
    )
    names = pl.DataFrame({"perturbation": [str(Condition((g,))) for g in asked]})
    return names.join(usual, how="cross").select(table.columns)


def network_of(
    source: str | Path,
    *,
    method: str,
    rng: np.random.Generator,
    unit: str | None = None,
    max_fdr: float | None = None,
    n_edges: int | None = None,
    impute: bool = False,
) -> Graph:
    """Return the network behind a screen, or the one a fitted model has learned or implies.

    Args:
        source: a screen's name or path, or a run's folder.
        method: a name in GRN_METHODS, or a model that learns a network, such as gpo_vae, which is
            then fitted to the screen; not used for a run of such a model.
        rng: source of randomness.
        unit: unit of a file that does not state its own.
        max_fdr: keep edges up to this false discovery rate.
        n_edges: keep so many of the strongest.
        impute: for a run, also ask its model for perturbations that were never made; the edges'
            column `imputed` says which start at such a gene.

    Raises:
        ConfigError: imputation is asked of a screen.
    """
    if not is_run(source):
        if impute:
            message = (
                f"{source} is a screen, and only a fitted model can be asked for perturbations "
                "never made: give a run's folder, or use --method imputed"
            )
            raise ConfigError(message)
        screen = open_screen(source, unit=unit)
        if is_learned(method):
            return learned_network(screen, method, rng, max_fdr=max_fdr, n_edges=n_edges)
        return explain(screen, method=method, rng=rng, max_fdr=max_fdr, n_edges=n_edges)
    from perturbkit.recipes.fitted import Fitted

    model = Fitted.open(Run.open(source)).members[0]
    if isinstance(model, LearnsGraph):
        graph = from_model(model)
        limit = max_fdr if "fdr" in graph.columns else None
        return strongest(graph, max_fdr=limit, n_edges=n_edges)
    screen, measured = screen_of_run(source, impute=impute)
    graph = explain(screen, method=method, rng=rng, max_fdr=max_fdr, n_edges=n_edges)
    if not impute:
        return graph
    known = np.isin(graph.source, graph.nodes.find(measured))
    return replace(graph, columns={**graph.columns, "imputed": (~known).astype(np.int8)})


def priors_of(names: Sequence[str], folder: str | Path | None) -> dict[str, Graph]:
    """Read the databases, or files of edges, that are to support a network.

    Raises:
        ConfigError: databases without their folder.
    """
    files = [n for n in names if Path(n).is_file()]
    if len(files) < len(names) and folder is None:
        message = f"the databases {', '.join(names)} need their folder; give it with --graphs"
        raise ConfigError(message)
    return {n: load_graph(n) if n in files else read_graph(n, folder) for n in names}


def regulators_of(
    source: str | Path,
    response: Response,
    rng: np.random.Generator,
    *,
    unit: str | None = None,
) -> pl.DataFrame:
    """Rank the perturbations of a screen or run by how well they explain a response."""
    screen = screen_of_run(source)[0] if is_run(source) else open_screen(source, unit=unit)
    return regulators(responses_of(screen, rng), response, rng)
