"""CausalBench's statistical evaluation: do the edges' targets move in cells held out?"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.data.false_discovery import benjamini_hochberg
from perturbkit.grn.expression import dense, rows_of
from perturbkit.grn.two_samples import compare_pairs

ALPHA = 0.05
"""Level at which a target counts as moved."""
STATISTICAL_SCORES = (
    "mean_wasserstein", "moved", "moved_fdr", "false_omission_rate", "false_omission_rate_fdr",
)  # fmt: skip
"""The scores of `statistical` that come with an interval."""


@dataclass(frozen=True, eq=False)
class Interventions:
    """How far each perturbation moves each readout, in held-out cells."""

    sources: tuple[str, ...]
    """perturbed genes, p"""
    targets: tuple[str, ...]
    """readouts, g"""
    distance_pg: np.ndarray
    """Wasserstein-1 distance of the column's readout between perturbed and control cells"""
    p_value_pg: np.ndarray
    """two-sided Mann-Whitney p-value; NaN for a perturbation's own readout"""

    @cached_property
    def fdr_pg(self) -> np.ndarray:
        """Benjamini-Hochberg rates over all ordered pairs."""
        return benjamini_hochberg(self.p_value_pg)

    @property
    def n_pairs(self) -> int:
        """How many ordered pairs are tested."""
        return int((~np.isnan(self.p_value_pg)).sum())

    def of(self, sources: Collection[str]) -> "Interventions":
        """Return the tests of some perturbations only."""
        kept = np.array([s in sources for s in self.sources])
        names = tuple(s for s in self.sources if s in sources)
        return Interventions(names, self.targets, self.distance_pg[kept], self.p_value_pg[kept])


def interventions(screen: Screen, *, every_readout: bool = False) -> Interventions:
    """Test every ordered pair of perturbed, measured genes, or of perturbed genes and readouts.

    Args:
        screen: cells that were not used to infer the network; counts are logged per 10 k.
        every_readout: test the perturbations on all readouts rather than on perturbed genes.

    Raises:
        SchemaError: profiles rather than cells, or no perturbed gene is measured.

    Source:
        CausalBench, Chevalley et al. 2025, doi:10.1038/s42003-025-07764-y.
    """
    if screen.level != "cells":
        message = (
            "held-out tests compare cells, and this screen holds profiles; "
            "give the cells, or score against a known network alone"
        )
        raise SchemaError(message)
    rows = rows_of(screen)
    own = rows.readouts.find(rows.sources)
    tested = np.arange(len(own)) if every_readout else np.flatnonzero(own >= 0)
    columns = np.arange(len(rows.readouts)) if every_readout else own[tested]
    if len(tested) == 0 or (not every_readout and len(tested) < 2):
        message = (
            f"{len(tested)} of {len(own)} perturbed genes are readouts, so no pair of them can "
            "be tested; test all readouts instead"
        )
        raise SchemaError(message)
    order = np.argsort(rows.code_n, kind="stable")
    order = order[rows.code_n[order] >= 0]
    n_p = np.bincount(rows.code_n[order], minlength=len(rows.sources))
    start = np.r_[0, np.cumsum(n_p)]
    x = rows.x_ng[:, columns]
    perturbed = np.ascontiguousarray(dense(x[order]).T.astype(np.float64))
    control = np.sort(dense(x[rows.code_n < 0]).T.astype(np.float64), axis=1)
    shape = len(tested), len(columns)
    source, target = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    distance, p_value = compare_pairs(perturbed, start, control, tested[source], target)
    itself = own[tested][:, None] == columns[None]
    return Interventions(
        tuple(rows.sources[int(i)] for i in tested),
        tuple(rows.readouts[int(j)] for j in columns),
        np.where(itself, np.nan, distance.reshape(shape)),
        np.where(itself, np.nan, p_value.reshape(shape)),
    )


def statistical(
    graph: Graph,
    held_out: Interventions,
    rng: np.random.Generator,
    *,
    n_edges: int | None = None,
    n_bootstrap: int = 200,
) -> dict[str, Any]:
    """Score a network by what held-out interventions do to its targets.

    Only pairs that were tested can be judged; other edges are left out before the strongest
    `n_edges` are taken, so that methods compare at equal numbers.

    Args:
        graph: the inferred network; undirected edges count both ways.
        held_out: tests in cells the network has not seen.
        rng: draws the bootstrap over sources.
        n_edges: how many of the strongest judged edges count; by default all.
        n_bootstrap: resamples of sources for the 95 % intervals.

    Returns:
        `n_edges`; `mean_wasserstein`; `moved` (share of edges with p < 0.05) and `moved_fdr`
        (share below that false discovery rate over all tested pairs); `false_omission_rate` and
        `false_omission_rate_fdr` (the same shares among pairs that no path of the network joins,
        all of them, not a sample) and `n_omitted`; each with `..._interval`.

    Source:
        CausalBench's mean Wasserstein distance, Mann-Whitney test and false omission rate; the
        negatives here are pairs without a path, by name, which the published code fails to
        exclude.
    """
    chosen = strongest_pairs(graph, held_out, n_edges)
    negative = ~reached(chosen, held_out) & ~np.isnan(held_out.p_value_pg)
    with np.errstate(invalid="ignore"):
        nominal, known = held_out.p_value_pg < ALPHA, held_out.fdr_pg < ALPHA
    p = len(held_out.sources)
    draws = rng.integers(p, size=(n_bootstrap, p))
    weight_bp = np.stack([np.bincount(d, minlength=p) for d in draws])
    parts = {
        "mean_wasserstein": (chosen, held_out.distance_pg), "moved": (chosen, nominal),
        "moved_fdr": (chosen, known), "false_omission_rate": (negative, nominal),
        "false_omission_rate_fdr": (negative, known),
    }  # fmt: skip
    result: dict[str, Any] = {"n_edges": int(chosen.sum()), "n_omitted": int(negative.sum())}
    for name, (pairs, values) in parts.items():
        number, total = pairs.sum(1), np.where(pairs, values, 0.0).sum(1)
        result[name] = float(total.sum() / number.sum()) if number.any() else np.nan
        result[f"{name}_interval"] = _interval(weight_bp @ total, weight_bp @ number)
    return result


def _interval(total_b: np.ndarray, number_b: np.ndarray) -> list[float]:
    """Return the 95 % interval of means over bootstrap resamples, from their sums."""
    usable = number_b > 0
    if not usable.any():
        return [float("nan"), float("nan")]
    means = total_b[usable] / number_b[usable]
    return [float(q) for q in np.quantile(means, [0.025, 0.975])]


def strongest_pairs(graph: Graph, held_out: Interventions, n_edges: int | None) -> np.ndarray:
    """Return which tested pairs are among the strongest edges, booleans [p, g]."""
    row, column = graph.nodes.find(held_out.sources), graph.nodes.find(held_out.targets)
    weight = np.zeros(held_out.p_value_pg.shape)
    a, b = np.flatnonzero(row >= 0), np.flatnonzero(column >= 0)
    weight[np.ix_(a, b)] = graph.adjacency[row[a]][:, column[b]].toarray()
    flat = np.where(np.isnan(held_out.p_value_pg), 0.0, weight).ravel()
    order = np.argsort(-flat, kind="stable")[:n_edges]
    chosen = np.zeros(len(flat), bool)
    chosen[order[flat[order] > 0]] = True
    return chosen.reshape(weight.shape)


def reached(chosen_pg: np.ndarray, held_out: Interventions) -> np.ndarray:
    """Return which targets a path over tested sources leads to, booleans [p, g]."""
    place = {name: j for j, name in enumerate(held_out.targets)}
    inner = np.array([place.get(s, -1) for s in held_out.sources])
    among = np.zeros((len(inner), len(inner)), bool)
    known = np.flatnonzero(inner >= 0)
    among[:, known] = chosen_pg[:, inner[known]]
    first = reachable(among).astype(np.float32)
    return chosen_pg | (first @ chosen_pg.astype(np.float32) > 0)


def reachable(adjacency_pp: np.ndarray) -> np.ndarray:
    """Return which nodes a path leads to from which, by repeated squaring."""
    reach = adjacency_pp.astype(bool)
    while True:
        further = reach | ((reach.astype(np.float32) @ reach.astype(np.float32)) > 0)
        if (further == reach).all():
            return reach
        reach = further
