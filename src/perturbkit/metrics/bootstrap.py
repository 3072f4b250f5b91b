"""Intervals of means over perturbations, by one set of draws for every model and metric."""

import numpy as np


def draw_weights(labels: np.ndarray, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how often each condition counts, resampling whole perturbations with replacement.

    Conditions with one label (a perturbation in several contexts, doses, ...) are drawn together:
    they are not independent.

    Returns:
        float32 [draws, conditions].
    """
    _, group = np.unique(labels, return_inverse=True)
    n = int(group.max()) + 1
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_draws)
    return counts[:, group].astype(np.float32)


def weighted_means(values_cs: np.ndarray, weights_bc: np.ndarray) -> np.ndarray:
    """Mean of each column under each draw, over the values that are not NaN; float64 [b, s]."""
    valid = ~np.isnan(values_cs)
    total = weights_bc @ np.where(valid, values_cs, 0).astype(np.float64)
    n = weights_bc @ valid.astype(np.float64)
    return np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)


def interval(values_cs: np.ndarray, weights_bc: np.ndarray, level: float) -> np.ndarray:
    """Percentile interval of each column's mean, [2, s]; NaN where the column is."""
    means = weighted_means(values_cs, weights_bc)
    low, high = (1 - level) / 2, (1 + level) / 2
    result = np.full((2, means.shape[1]), np.nan)
    usable = ~np.isnan(means).all(0)
    if len(means) and usable.any():
        result[:, usable] = np.nanquantile(means[:, usable], [low, high], axis=0)
    return result
