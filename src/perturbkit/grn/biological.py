"""CausalBench's biological evaluation: do the edges stand in databases, beyond chance?"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.grn.evaluate import weighted_average_precision

STANDARDS = ("string", "humap", "reactome", "dorothea", "trrust")
"""Databases that networks are compared with when none is named; members of GRAPHS."""
BIOLOGICAL_SCORES = ("auprc_ratio", "early_precision_ratio", "precision", "recall")
"""The scores of `biological` that come with an interval."""


def judged_genes(
    standard: Graph, sources: Iterable[str], targets: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Return the sources and targets that a database can judge, in order.

    A gene that a database does not list is unknown to it, which is no evidence against an edge;
    in a directed database a source without any target is no regulator it has looked at.
    """
    regulates = set(standard.nodes)
    if standard.directed:
        names = np.array(standard.nodes.names, dtype=object)
        regulates = set(names[np.unique(standard.source)])
    return ([s for s in sources if s in regulates], [t for t in targets if t in standard.nodes])


def biological(
    graph: Graph,
    standard: Graph,
    genes: tuple[Iterable[str], Iterable[str]],
    rng: np.random.Generator,
    *,
    n_edges: Sequence[int | None] = (None,),
    n_bootstrap: int = 200,
) -> list[dict[str, Any]]:
    """Score a network against a database, at several numbers of edges.

    Args:
        graph: the inferred network; undirected edges count both ways.
        standard: the database; undirected pairs count both ways.
        genes: sources and targets that could have an edge, such as perturbed genes and readouts.
        rng: draws the bootstrap over sources.
        n_edges: how many of the strongest judged edges count; None for all.
        n_bootstrap: resamples of sources for the 95 % intervals.

    Returns:
        For each number a row with `n_edges` that there are, `n_pairs`, `n_true`, `prevalence`;
        `auprc_ratio` (average precision over prevalence, of all edges), `early_precision_ratio`
        (precision of as many edges as are true, over prevalence), `precision` and `recall`; each
        with `..._interval`, NaN where the database says nothing of these genes.

    Source:
        CausalBench, doi:10.1038/s42003-025-07764-y; ratios over prevalence as in BEELINE, Pratapa
        et al. 2020, doi:10.1038/s41592-019-0690-6. Negatives are pairs of genes that the database
        lists; the published code counts hits only.
    """
    names = judged_genes(standard, *genes)
    score, truth = _matrix(graph, *names, weights=True), _matrix(standard, *names) > 0
    judged = np.array(names[0], object)[:, None] != np.array(names[1], object)[None]
    source, column = np.nonzero(judged)
    score, truth = score[source, column], truth[source, column]
    order = np.argsort(-score, kind="stable")
    order_source, ranked, hits = source[order], score[order], truth[order]
    about = {"n_pairs": len(truth), "n_true": int(truth.sum()),
             "prevalence": float(truth.mean()) if len(truth) else np.nan}  # fmt: skip
    p = len(names[0])
    weights = [np.ones(p), *(np.bincount(rng.integers(p, size=p), minlength=p).astype(float)
                             for _ in range(n_bootstrap if p else 0))]  # fmt: skip
    curves = [_curve(ranked, hits, w[order_source]) for w in weights]
    rows = []
    for number in n_edges:
        found = int((ranked[:number] > 0).sum())
        values = np.array([_at(c, found) for c in curves])
        row = about | {"n_edges": found}
        for i, name in enumerate(BIOLOGICAL_SCORES):
            row[name] = float(values[0, i])
            usable = values[1:, i][~np.isnan(values[1:, i])]
            ends = np.quantile(usable, [0.025, 0.975]) if len(usable) else [np.nan, np.nan]
            row[f"{name}_interval"] = [float(q) for q in ends]
        rows.append(row)
    return rows


def _curve(ranked: np.ndarray, hits: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Return running sums and ratios of pairs from the strongest, each counted by its weight."""
    seen, true = np.cumsum(weight), np.cumsum(weight * hits)
    n, n_true = (float(seen[-1]), float(true[-1])) if len(seen) else (0.0, 0.0)
    if not n_true:
        return {"seen": seen, "true": true, "n_true": 0.0, "ratio": np.nan, "early": np.nan}
    cut = min(int(np.searchsorted(seen, n_true)), len(seen) - 1)
    # pairs without an edge are no calls, however many are needed to fill the list
    called = min(cut, int((ranked > 0).sum()) - 1)
    early = true[called] / max(float(seen[cut]), 1e-12) if called >= 0 else 0.0
    return {
        "seen": seen, "true": true, "n_true": n_true, "early": early * n / n_true,
        "ratio": weighted_average_precision(ranked, hits, weight) * n / n_true,
    }  # fmt: skip


def _at(curve: dict[str, Any], n_edges: int) -> tuple[float, float, float, float]:
    """Return the scores of BIOLOGICAL_SCORES at a number of edges."""
    if not curve["n_true"] or not n_edges:
        return curve["ratio"], curve["early"], np.nan, 0.0 if curve["n_true"] else np.nan
    seen, true = float(curve["seen"][n_edges - 1]), float(curve["true"][n_edges - 1])
    precision = true / seen if seen else np.nan
    return curve["ratio"], curve["early"], precision, true / curve["n_true"]


def _matrix(
    graph: Graph, sources: list[str], targets: list[str], *, weights: bool = False
) -> np.ndarray:
    """Return weights, or ones, of the edges from sources to targets; 0 where there is none."""
    row, column = graph.nodes.find(sources), graph.nodes.find(targets)
    result = np.zeros((len(sources), len(targets)))
    a, b = np.flatnonzero(row >= 0), np.flatnonzero(column >= 0)
    if len(a) and len(b):
        block = graph.adjacency[row[a]][:, column[b]].toarray()
        result[np.ix_(a, b)] = block if weights else block != 0
    return result
