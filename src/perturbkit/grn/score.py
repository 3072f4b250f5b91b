"""Networks side by side: every test at the same numbers of edges, as one long table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from perturbkit.core.errors import ConfigError
from perturbkit.core.graph import Graph
from perturbkit.grn.biological import BIOLOGICAL_SCORES, biological, judged_genes
from perturbkit.grn.effects import Effects
from perturbkit.grn.evaluate import against_truth
from perturbkit.grn.explain import strongest
from perturbkit.grn.hierarchy import against_hierarchy
from perturbkit.grn.identify import identify
from perturbkit.grn.statistical import (
    STATISTICAL_SCORES,
    Interventions,
    statistical,
)

GRID = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
"""Numbers of edges of the curves."""
SCHEMA = {
    "network": pl.String, "held_out": pl.String, "against": pl.String, "n_edges": pl.Int64,
    "score": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64,
}  # fmt: skip
"""Columns of the long table; `low` and `high` are the ends of the 95 % interval, where known."""


@dataclass(frozen=True, eq=False)
class Judges:
    """What networks are tested against; each part may be absent."""

    sources: tuple[str, ...]
    """genes an edge may start at"""
    targets: tuple[str, ...]
    """genes an edge may end at"""
    interventions: Interventions | None = None
    """tests in cells held out"""
    effects: Effects | None = None
    """responses in cells held out, for the search of the perturbed gene"""
    truth: Graph | None = None
    """the known network"""
    levels: np.ndarray | None = None
    """the true level of each of the truth's nodes; by default its heights"""
    standards: Mapping[str, Graph] = field(default_factory=dict)
    """databases by name"""


def score_networks(
    networks: Mapping[str, Graph],
    tests: Judges,
    rng: np.random.Generator,
    *,
    held_out: str = "cells",
    n_edges: int | None = None,
    grid: Sequence[int] = GRID,
    n_bootstrap: int = 200,
) -> pl.DataFrame:
    """Score networks at equal numbers of edges.

    Args:
        networks: by name.
        tests: what they are tested against.
        rng: draws the bootstraps; every network is scored on the same draws.
        held_out: what the networks have not seen, for the table: `cells`, `perturbations` or "".
        n_edges: the number of edges at which networks are compared; by default, in each test,
            that of the network with the fewest edges the test can judge.
        grid: further numbers of edges, for curves; a network enters up to its own number.
        n_bootstrap: resamples of sources for the intervals.

    Returns:
        The long table of SCHEMA. Scores at further numbers of edges end in ` (curve)`.

    Raises:
        ConfigError: no network, or none with an edge that can be judged.
    """
    judged = {name: _n_judged(g, tests.sources, tests.targets) for name, g in networks.items()}
    if not any(judged.values()):
        message = (
            f"none of {', '.join(networks) or 'no network'} has an edge between genes that can be "
            f"judged ({len(tests.sources)} sources, {len(tests.targets)} targets); "
            "check the gene names"
        )
        raise ConfigError(message)
    seed = int(rng.integers(2**63))
    rows: list[dict[str, Any]] = []
    for against, part in _parts(tests).items():
        able = {name: _n_judged(g, *_genes(part)) for name, g in networks.items()}
        most = [n for n in able.values() if n] or [0]
        matched = min(most) if n_edges is None else min(n_edges, max(most))
        for name, graph in networks.items():
            numbers = [matched, *(k for k in grid if k <= able[name] and k != matched)]
            found = _rows_of(graph, part, numbers, _Draw(seed, n_bootstrap))
            about = {"network": name, "held_out": held_out, "against": against}
            rows.extend(about | row for row in found)
    return pl.DataFrame(rows, schema=SCHEMA)


def _parts(tests: Judges) -> dict[str, Judges]:
    """Return the tests one by one, by name."""
    none = {"interventions": None, "effects": None, "truth": None, "standards": {}}
    parts = {}
    if tests.interventions is not None:
        parts["interventions"] = replace(tests, **none | {"interventions": tests.interventions})
    for name, standard in tests.standards.items():
        parts[name] = replace(tests, **none | {"standards": {name: standard}})
    if tests.truth is not None:
        parts["truth"] = replace(tests, **none | {"truth": tests.truth})
    if tests.effects is not None:
        parts["perturbed gene"] = replace(tests, **none | {"effects": tests.effects})
    return parts


def _genes(part: Judges) -> tuple[Sequence[str], Sequence[str]]:
    """Return the sources and targets that one test can judge."""
    for standard in part.standards.values():
        return judged_genes(standard, part.sources, part.targets)
    if part.truth is not None:
        return known_genes(part)
    return part.sources, part.targets


@dataclass(frozen=True)
class _Draw:
    """The same bootstrap for every network."""

    seed: int
    n: int

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def _n_judged(graph: Graph, sources: Sequence[str], targets: Sequence[str]) -> int:
    """Return how many ordered pairs of sources and targets have an edge."""
    row, column = graph.nodes.find(sources), graph.nodes.find(targets)
    block = graph.adjacency[row[row >= 0]][:, column[column >= 0]]
    return int(block.nnz)


def _rows_of(graph: Graph, part: Judges, numbers: list[int], draw: _Draw) -> list[dict[str, Any]]:
    """Return the scores of one network in one test."""
    if part.interventions is not None:
        rows = []
        for i, number in enumerate(numbers):
            found = statistical(graph, part.interventions, draw.rng, n_edges=number,
                                n_bootstrap=draw.n)  # fmt: skip
            rows += _with_intervals(found, STATISTICAL_SCORES, curve=i > 0)
        return rows
    for standard in part.standards.values():
        found = biological(graph, standard, (part.sources, part.targets), draw.rng,
                           n_edges=numbers, n_bootstrap=draw.n)  # fmt: skip
        rows = _plain(found[0], ("n_true", "prevalence"))
        for i, row in enumerate(found):
            scores = ("precision", "recall") if i else BIOLOGICAL_SCORES
            rows += _with_intervals(row, scores, curve=i > 0)
        return rows
    if part.effects is not None:
        found = identify(_strongest_judged(graph, part, None), part.effects)
        return _plain(found | {"n_edges": graph.n_edges}, tuple(found))
    return _against_known(graph, part, numbers[0])


def _against_known(graph: Graph, part: Judges, matched: int) -> list[dict[str, Any]]:
    assert part.truth is not None
    sources, targets = known_genes(part)
    found = against_truth(graph, part.truth, sources=sources, targets=targets)
    order = against_hierarchy(_strongest_judged(graph, part, matched), part.truth, part.levels)
    named = {f"order_{k}": v for k, v in order.items()}
    return [*_plain(found | {"n_edges": graph.n_edges}, tuple(found)),
            *_plain(named | {"n_edges": matched}, tuple(named))]  # fmt: skip


def known_genes(part: Judges) -> tuple[list[str], list[str]]:
    """Return the sources and targets that the known network lists."""
    truth = part.truth
    assert truth is not None
    return ([n for n in part.sources if n in truth.nodes],
            [n for n in part.targets if n in truth.nodes])  # fmt: skip


def _strongest_judged(graph: Graph, tests: Judges, n_edges: int | None) -> Graph:
    """Return the strongest edges from tested sources to tested targets."""
    row, column = graph.nodes.find(tests.sources), graph.nodes.find(tests.targets)
    forward = np.isin(graph.source, row) & np.isin(graph.target, column)
    back = np.isin(graph.target, row) & np.isin(graph.source, column)
    return strongest(graph.select(forward | (back & (not graph.directed))), n_edges=n_edges)


def _with_intervals(
    found: Mapping[str, Any], scores: Sequence[str], *, curve: bool
) -> list[dict[str, Any]]:
    end = " (curve)" if curve else ""
    return [
        {"n_edges": found["n_edges"], "score": s + end, "value": found[s],
         "low": found[f"{s}_interval"][0], "high": found[f"{s}_interval"][1]}
        for s in scores
    ]  # fmt: skip


def _plain(found: Mapping[str, Any], scores: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"n_edges": found["n_edges"], "score": s, "value": float(found[s])}
        for s in scores if s != "n_edges"
    ]  # fmt: skip
