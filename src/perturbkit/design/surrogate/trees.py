"""Extremely randomised trees on the features, bagged; small forests are the members."""

import numpy as np

from perturbkit.design.knowledge import Knowledge
from perturbkit.design.surrogate.card import SurrogateCard, observed

N_MEMBERS, N_TREES = 8, 12
SETTINGS = {
    "objective": "regression", "boosting": "rf", "extra_trees": True, "bagging_fraction": 0.632,
    "bagging_freq": 1, "feature_fraction_bynode": 0.1, "min_data_in_leaf": 5, "num_leaves": 128,
    "max_bin": 63, "min_data_in_bin": 1, "num_threads": 1, "verbose": -1, "deterministic": True,
    "force_col_wise": True,
}  # fmt: skip
LEAST = 20
"""With fewer outcomes nothing is learned."""


def fit(knowledge: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the predictions of eight forests of twelve trees each, [8, c]."""
    import lightgbm

    x = knowledge.features_cd
    rows, y = observed(outcome_c)
    if len(rows) < LEAST or y.std() == 0:
        mean = y.mean() if len(rows) else 0.0
        return np.full((N_MEMBERS, len(x)), mean)
    data = lightgbm.Dataset(x[rows], y, free_raw_data=False)
    settings = SETTINGS | {"seed": int(rng.integers(2**31 - 1))}
    forest = lightgbm.train(settings, data, N_MEMBERS * N_TREES)
    return np.stack([
        forest.predict(x, start_iteration=m * N_TREES, num_iteration=N_TREES, num_threads=1)
        for m in range(N_MEMBERS)
    ])  # fmt: skip


card = SurrogateCard(
    name="trees",
    summary="bagged, extremely randomised trees on network features",
    source="Geurts et al. 2006, doi:10.1007/s10994-006-6226-1, by LightGBM",
    fn=fit,
    by_chance=True,
)
