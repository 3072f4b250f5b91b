"""Score networks: files, methods and runs, in cells and perturbations they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.errors import ConfigError, FileError
from perturbkit.core.graph import Graph
from perturbkit.core.rng import named_rng
from perturbkit.core.screen import Screen
from perturbkit.data.screens import open_screen
from perturbkit.graphs import GRAPHS
from perturbkit.graphs.read import read_graph
from perturbkit.grn import GRN_METHODS
from perturbkit.grn.biological import STANDARDS
from perturbkit.grn.effects import mean_effects
from perturbkit.grn.explain import explain
from perturbkit.grn.export import load_graph
from perturbkit.grn.held_out import folds_of, infer_unperturbed, split_cells
from perturbkit.grn.score import SCHEMA, Judges, score_networks
from perturbkit.grn.statistical import interventions
from perturbkit.recipes.networks import is_run, network_of


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """What is to be scored, and against what."""

    networks: Sequence[str]
    """files of edges, names in GRN_METHODS, or folders of runs"""
    screen: str | None = None
    """a screen of cells to test in; methods are inferred from its other cells"""
    unit: str | None = None
    """unit of a file that does not state its own"""
    truth: str | None = None
    """a file with the known network"""
    graphs: str | None = None
    """a folder of databases"""
    standards: Sequence[str] = ()
    """databases of the folder; by default all of STANDARDS that are there"""
    every_readout: bool = False
    """judge edges to all readouts, not only among perturbed genes"""
    n_edges: int | None = None
    """the number of edges at which networks are compared"""
    test_share: float = 0.5
    """share of the cells of each condition that is tested, where methods are inferred"""
    n_folds: int = 0
    """folds of perturbations that are left out in turn; 0: none"""
    seed: int = 0
    """seed of everything random"""


@dataclass(eq=False)
class NetworkScores:
    """What was found."""

    table: pl.DataFrame
    """the long table of `grn.score.SCHEMA`"""
    notes: list[str] = field(default_factory=list)
    """what the user should know of it"""


def score_request(request: ScoreRequest) -> NetworkScores:
    """Read or infer the networks and score them side by side.

    Methods see one part of each condition's cells and are tested in the rest. With folds, they
    are also inferred without the cells of some perturbations, and judged by the edges they give
    from those genes.

    Raises:
        PerturbkitError: unknown names, unreadable files, or nothing to test against.
    """
    methods = [n for n in request.networks if n in GRN_METHODS]
    files = [n for n in request.networks if n not in GRN_METHODS]
    _check(request, methods)
    notes: list[str] = []
    graphs = {_name(n): _given(n, request) for n in files}
    standards = _standards(request, notes)
    truth = load_graph(request.truth) if request.truth else None
    screen = open_screen(request.screen, unit=request.unit) if request.screen else None
    if screen is None:
        tests = _tests_of_genes(graphs, truth, standards)
        return NetworkScores(_score(graphs, tests, request, ""), notes)
    train, test = screen, screen
    if methods:
        rng = named_rng(request.seed, "cells")
        train, test = split_cells(screen, rng, test_share=request.test_share)
        graphs |= {m: explain(train, method=m, rng=named_rng(request.seed, "explain", m))
                   for m in methods}  # fmt: skip
    if files:
        notes.append(f"{', '.join(files)}: taken as inferred from other cells than those tested")
    held_out = interventions(test, every_readout=request.every_readout)
    tests = Judges(
        held_out.sources, held_out.targets, interventions=held_out, effects=mean_effects(test),
        truth=truth, standards=standards,
    )  # fmt: skip
    parts = [_score(graphs, tests, request, "cells")]
    if request.n_folds:
        parts.append(_unperturbed(train, tests, methods, request, notes))
    table = pl.concat(parts)
    empty = table.filter(pl.col("score") == "n_true", pl.col("value") == 0)["against"].unique()
    notes += [f"{name} has no pair among the genes that are judged" for name in empty.sort()]
    return NetworkScores(table, notes)


def _check(request: ScoreRequest, methods: Sequence[str]) -> None:
    """Raise where nothing can be scored."""
    for name in request.networks:
        if name not in GRN_METHODS and not Path(name).exists() and not Path(name).suffix:
            GRN_METHODS[name]  # raises, with what may have been meant
    if not (request.screen or request.truth or request.graphs):
        message = (
            "nothing to score against; give a screen of cells (--screen), a known network "
            "(--truth), or a folder of databases (--graphs)"
        )
        raise ConfigError(message)
    if methods and not request.screen:
        message = (
            f"{', '.join(methods)} must be inferred first; give the screen (--screen), or a file "
            "of edges in place of the method"
        )
        raise ConfigError(message)
    if request.n_folds and not methods:
        message = "perturbations can be left out for methods only, not for files; name a method"
        raise ConfigError(message)


def _name(path: str) -> str:
    return Path(path).name.split(".")[0] or path


def _given(source: str, request: ScoreRequest) -> Graph:
    if is_run(source):
        return network_of(source, method="direct", rng=named_rng(request.seed, "explain", source))
    return load_graph(source)


def _standards(request: ScoreRequest, notes: list[str]) -> dict[str, Graph]:
    """Read the databases that are there."""
    if request.graphs is None:
        if request.standards:
            message = "databases were named without their folder; give it with --graphs"
            raise ConfigError(message)
        return {}
    for name in request.standards:
        GRAPHS[name]
    found: dict[str, Graph] = {}
    for name in request.standards or STANDARDS:
        try:
            found[name] = read_graph(name, request.graphs)
        except FileError:
            if request.standards:
                raise
            notes.append(f"no file of {name} in {request.graphs}")
    if not found:
        message = f"{request.graphs} holds none of {', '.join(STANDARDS)}; name another folder"
        raise FileError(message)
    return found


def _tests_of_genes(
    graphs: dict[str, Graph], truth: Graph | None, standards: dict[str, Graph]
) -> Judges:
    """Return tests without a screen: any gene of the truth, or of the networks, is judged."""
    names = list(truth.nodes) if truth is not None else sorted({n for g in graphs.values()
                                                                 for n in g.nodes})  # fmt: skip
    return Judges(tuple(names), tuple(names), truth=truth, standards=standards)


def _unperturbed(
    train: Screen, tests: Judges, methods: Sequence[str], request: ScoreRequest, notes: list[str]
) -> pl.DataFrame:
    """Score the edges that methods give from genes whose perturbation they have not seen."""
    rng = named_rng(request.seed, "folds")
    folds = folds_of(list(tests.sources), request.n_folds, rng)
    graphs = {}
    for method in methods:
        graph = infer_unperturbed(train, method, folds, named_rng(request.seed, "explain", method))
        if graph is None:
            notes.append(f"{method} gives no edge from a gene whose perturbation it has not seen")
        else:
            graphs[method] = graph
    if not graphs:
        return pl.DataFrame(schema=SCHEMA)
    return _score(graphs, tests, request, "perturbations")


def _score(
    graphs: dict[str, Graph], tests: Judges, request: ScoreRequest, held_out: str
) -> pl.DataFrame:
    rng: np.random.Generator = named_rng(request.seed, "bootstrap")
    return score_networks(graphs, tests, rng, held_out=held_out, n_edges=request.n_edges)


SHOWN = {
    "interventions": (
        "mean_wasserstein", "moved", "moved_fdr", "false_omission_rate", "false_omission_rate_fdr",
    ),
    "truth": ("auroc", "auprc", "early_precision_ratio", "shd", "sign_accuracy",
              "order_kendall_tau", "order_ancestor_auroc"),
    "perturbed gene": ("recall_at_1", "recall_at_5", "mean_reciprocal_rank",
                       "chance_reciprocal_rank"),
}  # fmt: skip
"""The columns shown of each test; of databases those of `_OF_DATABASES`."""
_OF_DATABASES = ("n_true", "prevalence", "auprc_ratio", "early_precision_ratio", "precision",
                 "recall")  # fmt: skip


def compared(table: pl.DataFrame) -> list[tuple[str, list[dict[str, str]]]]:
    """Return tables to show: one for each test, a row for each network at equal edges."""
    tables = []
    for held_out, against in table.select("held_out", "against").unique(maintain_order=True).rows():
        part = table.filter(pl.col("held_out") == held_out, pl.col("against") == against)
        scores = SHOWN.get(against, _OF_DATABASES)
        if not part.filter(pl.col("score") == scores[0])["value"].sum():
            continue  # a database that says nothing of these genes; a note says so
        rows = []
        for network in part["network"].unique(maintain_order=True):
            mine = part.filter(pl.col("network") == network)
            row = {"network": network, "edges": str(mine["n_edges"][0])}
            rows.append(row | {s: _value(mine.filter(pl.col("score") == s)) for s in scores})
        said = f", held-out {held_out}" if held_out == "perturbations" else ""
        tables.append((f"against {against}{said}", rows))
    return tables


def _value(rows: pl.DataFrame) -> str:
    """Return `0.47 (0.31 to 0.62)`, or `-` where nothing was found."""
    if not rows.height or rows["value"][0] is None or not np.isfinite(rows["value"][0]):
        return "-"
    value, low, high = rows.select("value", "low", "high").row(0)
    if low is None or not np.isfinite(low):
        return f"{value:.3g}"
    return f"{value:.3g} ({low:.2g} to {high:.2g})"
