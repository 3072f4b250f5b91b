"""GENIE3: each gene predicted from the others by a random forest; edges by their use."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import rows_of
from perturbkit.grn.trees import MAX_BIN, gain_share, tree_network

N_TREES = 100
"""Trees of each forest."""
FOREST = {
    "objective": "regression", "boosting": "rf", "num_leaves": 63, "min_data_in_leaf": 5,
    "bagging_fraction": 0.632, "bagging_freq": 1, "max_bin": MAX_BIN, "verbose": -1,
    "num_threads": 1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip
"""Settings of LightGBM; as many rows are drawn as a bootstrap sees."""


def genie3(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return edges weighted by how much variance a forest's splits on the regulator explain.

    Args:
        screen: cells or profiles.
        rng: seeds the trees.

    Source:
        Huynh-Thu et al. 2010, doi:10.1371/journal.pone.0012776: the square root of the regulators
        is tried at each split. Trees are LightGBM's.
    """
    seed = int(rng.integers(2**31))
    return tree_network(rows_of(screen), forest_importance, seed, "genie3")


def forest_importance(x_nk: np.ndarray, y_n: np.ndarray, seed: int) -> np.ndarray:
    """Return for each feature the mean gain of its splits, as a share of the variance."""
    import lightgbm

    data = lightgbm.Dataset(x_nk, y_n, params={"verbose": -1, "max_bin": MAX_BIN})
    tried = {"feature_fraction_bynode": max(x_nk.shape[1] ** -0.5, 1 / x_nk.shape[1])}
    model = lightgbm.train(FOREST | tried | {"seed": seed}, data, N_TREES)
    return gain_share(model, y_n) / N_TREES


card = GrnCard(
    name="genie3",
    summary="a random forest predicts each gene from the others; edges by explained variance",
    source="Huynh-Thu et al. 2010, doi:10.1371/journal.pone.0012776",
    fn=genie3,
    interventional=False,
    max_genes=2000,
)
