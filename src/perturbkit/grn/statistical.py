"""CausalBench's statistical evaluation: do the edges' targets move in cells held out?"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import benjamini_hochberg
from perturbkit.grn.expression import dense, rows_of
from perturbkit.grn.two_samples import compare_pairs

ALPHA = 0.05
"""Level at which a target counts as moved."""


@dataclass(frozen=True, eq=False)
class Interventions:
    """How far each perturbation moves each measured target's readout, in held-out cells."""

    names: tuple[str, ...]
    """perturbed genes that are measured, p"""
    distance_pp: np.ndarray
    """Wasserstein-1 distance of the column's readout between perturbed and control cells"""
    p_value_pp: np.ndarray
    """two-sided Mann-Whitney p-value; NaN on the diagonal"""

    @property
    def fdr_pp(self) -> np.ndarray:
        """Benjamini-Hochberg rates over all ordered pairs."""
        return benjamini_hochberg(self.p_value_pp)


def interventions(screen: Screen) -> Interventions:
    """Test every ordered pair of perturbed, measured genes.

    Args:
        screen: cells that were not used to infer the network; counts are logged per 10 k.

    Source:
        CausalBench, Chevalley et al. 2025, doi:10.1038/s42003-025-07764-y.
    """
    rows = rows_of(screen)
    own = rows.readouts.find(rows.sources)
    measured = np.flatnonzero(own >= 0)
    order = np.argsort(rows.code_n, kind="stable")
    order = order[rows.code_n[order] >= 0]
    n_p = np.bincount(rows.code_n[order], minlength=len(rows.sources))
    start = np.r_[0, np.cumsum(n_p)]
    columns = own[measured]
    x = rows.x_ng[:, columns]
    perturbed = np.ascontiguousarray(dense(x[order]).T.astype(np.float64))
    control = np.sort(dense(x[rows.code_n < 0]).T.astype(np.float64), axis=1)
    p = len(measured)
    source, target = np.divmod(np.arange(p * p), p)
    distance, p_value = compare_pairs(perturbed, start, control, measured[source], target)
    shape = (p, p)
    distance, p_value = distance.reshape(shape), p_value.reshape(shape)
    np.fill_diagonal(distance, np.nan)
    np.fill_diagonal(p_value, np.nan)
    return Interventions(tuple(rows.sources[int(i)] for i in measured), distance, p_value)


def statistical(
    graph: Graph,
    held_out: Interventions,
    rng: np.random.Generator,
    *,
    n_edges: int | None = None,
    n_bootstrap: int = 200,
) -> dict[str, Any]:
    """Score a network by what held-out interventions do to its targets.

    Only edges between perturbed and measured genes can be judged; the others are left out before
    the strongest `n_edges` are taken, so that methods compare at equal numbers.

    Args:
        graph: the inferred network; undirected edges count both ways.
        held_out: tests in cells the network has not seen.
        rng: draws the bootstrap over sources.
        n_edges: how many of the strongest judged edges count; by default all.
        n_bootstrap: resamples of sources for the 95 % intervals.

    Returns:
        `n_edges`; `mean_wasserstein` and its interval; `moved` (share of edges with p < 0.05) and
        its interval, `moved_fdr` (share below that FDR); `false_omission_rate` (share with FDR
        below 0.05 among pairs that no path of the network joins, all of them, not a sample) and
        `n_omitted`.

    Source:
        CausalBench's mean Wasserstein distance and false omission rate; the negatives here are
        pairs without a path, by name, which the published code fails to exclude.
    """
    names = held_out.names
    adjacency = _strongest(graph, names, n_edges)
    p, g = np.nonzero(adjacency)
    distance = held_out.distance_pp[p, g]
    significant = held_out.p_value_pp[p, g] < ALPHA
    known = held_out.fdr_pp < ALPHA
    negative = ~reachable(adjacency) & ~np.eye(len(names), dtype=bool)
    draws = rng.integers(len(names), size=(n_bootstrap, len(names)))
    weight = np.stack([np.bincount(d, minlength=len(names)) for d in draws])[:, p]
    result: dict[str, Any] = {"n_edges": len(p)}
    for name, values in (("mean_wasserstein", distance), ("moved", significant.astype(float))):
        result[name] = float(values.mean()) if len(p) else np.nan
        result[f"{name}_interval"] = _interval(weight, values)
    result["moved_fdr"] = float(known[p, g].mean()) if len(p) else np.nan
    result["n_omitted"] = int(negative.sum())
    result["false_omission_rate"] = float(known[negative].mean()) if negative.any() else np.nan
    return result


def _interval(weight_be: np.ndarray, value_e: np.ndarray) -> list[float]:
    """Return the 95 % interval of the weighted mean over bootstrap resamples."""
    total = weight_be.sum(1)
    usable = total > 0
    if not usable.any():
        return [float("nan"), float("nan")]
    means = (weight_be[usable] @ value_e) / total[usable]
    return [float(q) for q in np.quantile(means, [0.025, 0.975])]


def _strongest(graph: Graph, names: tuple[str, ...], n_edges: int | None) -> np.ndarray:
    """Return which ordered pairs of names are among the strongest edges, as booleans."""
    place = graph.nodes.find(names)
    known = place >= 0
    weight = np.zeros((len(names), len(names)))
    sub = graph.adjacency[place[known]][:, place[known]].toarray()
    weight[np.ix_(known, known)] = sub
    np.fill_diagonal(weight, 0.0)
    flat = weight.ravel()
    order = np.argsort(-flat, kind="stable")[:n_edges]
    chosen = np.zeros(len(flat), bool)
    chosen[order[flat[order] > 0]] = True
    return chosen.reshape(weight.shape)


def reachable(adjacency_pp: np.ndarray) -> np.ndarray:
    """Return which nodes a path leads to from which, by repeated squaring."""
    reach = adjacency_pp.astype(bool)
    while True:
        further = reach | ((reach.astype(np.float32) @ reach.astype(np.float32)) > 0)
        if (further == reach).all():
            return reach
        reach = further
