"""GRNBoost: each gene predicted from the others by boosted trees; edges by their use."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import rows_of
from perturbkit.grn.trees import MAX_BIN, gain_share, tree_network

BOOSTING = {
    "objective": "regression", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 5,
    "feature_fraction": 0.3, "bagging_fraction": 0.7, "bagging_freq": 1, "max_bin": MAX_BIN,
    "verbose": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip
"""Settings of LightGBM."""
N_TREES = 100
"""Trees for each gene."""


def grnboost(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return edges weighted by how much variance the boosted splits on the regulator explain.

    Args:
        screen: cells or profiles.
        rng: seeds the trees.

    Source:
        GRNBoost2, Moerman et al. 2019, doi:10.1093/bioinformatics/bty916, with a fixed number of
        trees in place of its early stopping. Trees are LightGBM's.
    """
    seed = int(rng.integers(2**31))
    return tree_network(rows_of(screen), boosted_importance, seed, "grnboost")


def boosted_importance(x_nk: np.ndarray, y_n: np.ndarray, seed: int) -> np.ndarray:
    """Return for each feature the gain of its splits, as a share of the response's variance."""
    import lightgbm

    data = lightgbm.Dataset(x_nk, y_n, params={"verbose": -1, "max_bin": MAX_BIN})
    return gain_share(lightgbm.train(BOOSTING | {"seed": seed}, data, N_TREES), y_n)


card = GrnCard(
    name="grnboost",
    summary="boosted trees predict each gene from the others; edges by explained variance",
    source="Moerman et al. 2019, doi:10.1093/bioinformatics/bty916",
    fn=grnboost,
    interventional=False,
    max_genes=2000,
)
