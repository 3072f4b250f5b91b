"""Each gene predicted from its possible regulators by trees: what GENIE3 and GRNBoost share."""

from collections.abc import Callable

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.expression import Rows, centred

Importance = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""`(x_nk, y_n, seed) -> importance_k`, a share of the response's variance"""
MAX_BIN = 63
"""Steps that a regulator's values are cut into."""


def tree_network(rows: Rows, importance: Importance, seed: int, name: str) -> Graph:
    """Return edges weighted by how much of a gene's variance its regulator explains.

    Regulators are the perturbed targets that are measured, where there are at least ten, else all
    readouts. Rows in which a gene itself is perturbed are left out of its own regression.

    Args:
        rows: values of the screen.
        importance: what the trees say of each regulator of one gene.
        seed: of the trees.
        name: the method, for the provenance.
    """
    x = centred(rows).astype(np.float32)
    regulators = regulators_of(rows)
    score = np.zeros((len(regulators), x.shape[1]))
    own = rows.readouts.find(rows.sources)
    target_n = np.where(rows.code_n >= 0, own[rows.code_n], -1)
    for j in np.flatnonzero(x.std(0) > 0):
        others = regulators != j
        kept = target_n != j
        score[others, j] = importance(x[np.ix_(kept, regulators[others])], x[kept, j], seed)
    names = [rows.readouts[int(i)] for i in regulators]
    return graph_of_scores(score, Vocabulary(names, "gene"), rows.readouts, name=name)


def regulators_of(rows: Rows, at_least: int = 10) -> np.ndarray:
    """Return positions of the readouts that may regulate: measured targets, or all if too few."""
    own = rows.readouts.find(rows.sources)
    own = np.sort(own[own >= 0])
    return own if len(own) >= at_least else np.arange(len(rows.readouts))


def gain_share(booster, y_n: np.ndarray) -> np.ndarray:  # noqa: ANN001  (lightgbm is imported late)
    """Return the gain of each feature's splits as a share of the response's variance."""
    total = float(((y_n - y_n.mean()) ** 2).sum())
    return booster.feature_importance("gain") / max(total, 1e-12)
