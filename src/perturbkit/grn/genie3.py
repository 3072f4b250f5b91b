"""GENIE3: each gene predicted from the others by boosted trees; edges by their use."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import Rows, centred, rows_of

TREES = {
    "objective": "regression", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 5,
    "feature_fraction": 0.3, "bagging_fraction": 0.7, "bagging_freq": 1, "max_bin": 63,
    "verbose": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip
"""Settings of LightGBM."""
N_TREES = 100
"""Trees for each gene."""


def genie3(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return edges weighted by how much of a gene's variance the splits on its regulator explain.

    Regulators are the perturbed targets that are measured, where there are at least ten, else all
    readouts. Rows in which a gene itself is perturbed are left out of its own regression.

    Args:
        screen: cells or profiles.
        rng: seeds the trees.

    Source:
        Huynh-Thu et al. 2010, doi:10.1371/journal.pone.0012776, with the boosted trees of
        GRNBoost2 (Moerman et al. 2019, doi:10.1093/bioinformatics/bty916) from LightGBM.
    """
    rows = rows_of(screen)
    x = centred(rows).astype(np.float32)
    regulators = regulators_of(rows)
    score = np.zeros((len(regulators), x.shape[1]))
    own = rows.readouts.find(rows.sources)
    target_n = np.where(rows.code_n >= 0, own[rows.code_n], -1)
    seed = int(rng.integers(2**31))
    for j in np.flatnonzero(x.std(0) > 0):
        features = regulators[regulators != j]
        kept = target_n != j
        importance = tree_importance(x[np.ix_(kept, features)], x[kept, j], seed)
        score[regulators != j, j] = importance
    names = [rows.readouts[int(i)] for i in regulators]
    return graph_of_scores(score, type(rows.readouts)(names, "gene"), rows.readouts, name="genie3")


def regulators_of(rows: Rows, at_least: int = 10) -> np.ndarray:
    """Return positions of the readouts that may regulate: measured targets, or all if too few."""
    own = rows.readouts.find(rows.sources)
    own = np.sort(own[own >= 0])
    return own if len(own) >= at_least else np.arange(len(rows.readouts))


def tree_importance(x_nk: np.ndarray, y_n: np.ndarray, seed: int) -> np.ndarray:
    """Return for each feature the gain of its splits, as a share of the response's variance."""
    import lightgbm

    total = float(((y_n - y_n.mean()) ** 2).sum())
    data = lightgbm.Dataset(x_nk, y_n, params={"verbose": -1, "max_bin": TREES["max_bin"]})
    model = lightgbm.train(TREES | {"seed": seed}, data, N_TREES)
    return model.feature_importance("gain") / max(total, 1e-12)


card = GrnCard(
    name="genie3",
    summary="boosted trees predict each gene from the others; edges by explained variance",
    source="Huynh-Thu et al. 2010, doi:10.1371/journal.pone.0012776; GRNBoost2 2019",
    fn=genie3,
    interventional=False,
    max_genes=2000,
)
