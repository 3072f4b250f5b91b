"""From a matrix of scores to a Graph: shared by every method of the family."""

from collections.abc import Mapping

import numpy as np

from perturbkit import __version__
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.vocabulary import Vocabulary

MAX_EDGES = 1_000_000
"""The most edges a method returns: the strongest; more is a matrix, not a network."""


def graph_of_scores(
    score_pg: np.ndarray,
    sources: Vocabulary,
    targets: Vocabulary,
    *,
    name: str,
    columns: Mapping[str, np.ndarray] | None = None,
    directed: bool = True,
) -> Graph:
    """Return the edges with a score other than zero, strongest first.

    Args:
        score_pg: signed scores [sources, targets]; the size is the weight, 0 or NaN no edge.
        sources: names of the rows.
        targets: names of the columns.
        name: the method, for the provenance.
        columns: further values for each pair, [sources, targets] each.
        directed: where false, the larger of (a, b) and (b, a) is kept.

    Returns:
        A graph over the targets and those sources that are not among them; no self-loops.
    """
    extra = [s for s in sources if s not in targets]
    nodes = Vocabulary([*targets, *extra], "node")
    row, column = nodes.encode(sources), nodes.encode(targets)
    score = np.nan_to_num(np.asarray(score_pg, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    score = np.where(row[:, None] == column[None, :], 0.0, score)
    p, g = np.nonzero(score)
    size = np.abs(score[p, g])
    order = np.argsort(-size, kind="stable")
    if not directed:
        low, high = np.minimum(row[p], column[g]), np.maximum(row[p], column[g])
        _, first = np.unique((low * len(nodes) + high)[order], return_index=True)
        order = order[np.sort(first)]
    order = order[:MAX_EDGES]
    p, g = p[order], g[order]
    return Graph(
        nodes=nodes,
        source=row[p],
        target=column[g],
        weight=np.minimum(size[order], np.finfo(np.float32).max),
        sign=np.sign(score[p, g]),
        directed=directed,
        provenance=Provenance(name=name, version=__version__),
        columns={k: np.asarray(v)[p, g] for k, v in (columns or {}).items()},
    )
