"""How far predicted cells are from measured cells of the same perturbation, as distributions."""

from collections.abc import Callable
from functools import partial

import numpy as np

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.edistance import dense, sum_of_distances, sum_within
from perturbkit.metrics.cells.pair import CellsPair

N_PROJECTIONS = 128
"""Directions of the sliced Wasserstein distance, the same for every call."""
Distance = Callable[[np.ndarray, np.ndarray], float]
"""`(x_ng, y_mg) -> distance` of two clouds, float32"""


def _at_least_0(distance: float) -> float:
    """Take away what rounding left below 0; of values that are not numbers NaN stays."""
    return float(np.maximum(0.0, distance))


def energy(x_ng: np.ndarray, y_mg: np.ndarray) -> float:
    """Energy distance over all pairs: 0 for the same cells, above it for a second sample."""
    n, m = len(x_ng), len(y_mg)
    within = sum_within(x_ng) / n**2 + sum_within(y_mg) / m**2
    return _at_least_0(2 * sum_of_distances(x_ng, y_mg) / (n * m) - within)


def squared_distances(x_ng: np.ndarray, y_mg: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs."""
    norms = np.einsum("ng,ng->n", x_ng, x_ng)[:, None] + np.einsum("mg,mg->m", y_mg, y_mg)
    return np.maximum(norms - 2 * (x_ng @ y_mg.T), 0)


def mmd(x_ng: np.ndarray, y_mg: np.ndarray) -> float:
    """Squared maximum mean discrepancy, Gaussian kernel, over all pairs: 0 for the same cells.

    The bandwidth is the median distance between measured cells, so it does not depend on what is
    predicted.

    Source:
        Gretton et al. 2012, JMLR 13:723, equation 5 with the median heuristic.
    """
    n = len(x_ng)
    if n < 2:
        return float("nan")
    xx, yy, xy = (squared_distances(*p) for p in ((x_ng, x_ng), (y_mg, y_mg), (x_ng, y_mg)))
    scale = np.median(xx[np.triu_indices(n, 1)])
    if scale <= 0:
        return float("nan")
    means = [np.exp(-d / scale).mean(dtype=np.float64) for d in (xx, yy, xy)]
    return _at_least_0(means[0] + means[1] - 2 * means[2])


def quantile_distance(x_nk: np.ndarray, y_mk: np.ndarray) -> np.ndarray:
    """First Wasserstein distance of each pair of columns; equals scipy's for each."""
    n, m = len(x_nk), len(y_mk)
    x, y = np.sort(x_nk, 0), np.sort(y_mk, 0)
    # both quantile functions are constant between these points
    steps = np.union1d(np.arange(n + 1) / n, np.arange(m + 1) / m)
    middle = (steps[1:] + steps[:-1]) / 2
    width = np.diff(steps)[:, None]
    gap = np.abs(x[(middle * n).astype(int)] - y[(middle * m).astype(int)])
    return (gap * width).sum(0)


def per_gene(x_ng: np.ndarray, y_mg: np.ndarray) -> float:
    """Mean over genes of the first Wasserstein distance; 0 for the same marginals."""
    return float(quantile_distance(x_ng, y_mg).mean())


def sliced(x_ng: np.ndarray, y_mg: np.ndarray) -> float:
    """Mean first Wasserstein distance over fixed random directions; 0 for the same cloud."""
    direction = np.random.default_rng(0).standard_normal((x_ng.shape[1], N_PROJECTIONS))
    direction = (direction / np.linalg.norm(direction, axis=0)).astype(np.float32)
    return float(quantile_distance(x_ng @ direction, y_mg @ direction).mean())


def of_each(pair: CellsPair, distance: Distance) -> np.ndarray:
    """Distance between measured and predicted cells of each perturbation."""
    shift = pair.truth_control_g.astype(np.float32)
    scores = np.full(len(pair.perturbations), np.nan)
    for p in range(len(scores)):
        measured = dense(pair.truth.x_ng, pair.truth.rows(pair.truth.group_p[p]), shift)
        predicted = dense(
            pair.predicted.x_ng, pair.predicted.rows(pair.predicted.group_p[p]), shift
        )
        scores[p] = distance(measured, predicted)
    return scores


def e_test(
    x_ng: np.ndarray, y_mg: np.ndarray, rng: np.random.Generator, n_permutations: int = 1000
) -> tuple[float, float]:
    """Test whether two clouds differ: energy distance and its permutation p-value.

    The distances of all pairs are computed once; each permutation only relabels them.

    Args:
        x_ng: cells of one cloud.
        y_mg: cells of the other.
        rng: for the permutations.
        n_permutations: how many.

    Returns:
        The energy distance over distinct pairs and (1 + #{at least as large}) / (1 + permutations).

    Source:
        scPerturb (Peidli et al. 2024), E-test.
    """
    both = np.concatenate([x_ng, y_mg]).astype(np.float32)
    distance = np.sqrt(squared_distances(both, both))
    np.fill_diagonal(distance, 0)
    n, m = len(x_ng), len(y_mg)
    label = np.zeros((n_permutations + 1, n + m), np.float32)
    label[0, :n] = 1
    for row in label[1:]:
        row[rng.permutation(n + m)[:n]] = 1
    inside = label @ distance
    xx = np.einsum("bn,bn->b", inside, label)
    xy = np.einsum("bn,bn->b", inside, 1 - label)
    yy = distance.sum(dtype=np.float64) - xx - 2 * xy
    statistic = 2 * xy / (n * m) - xx / (n * (n - 1)) - yy / (m * (m - 1))
    p_value = (1 + np.sum(statistic[1:] >= statistic[0])) / (1 + n_permutations)
    return float(statistic[0]), float(p_value)


def _card(name: str, summary: str, source: str, distance: Distance) -> CellsCard:
    return CellsCard(
        name=name, summary=summary, source=source, fn=partial(of_each, distance=distance),
        better="lower", best=0.0, bounds=(0.0, np.inf), profiles=frozenset({"distribution"}),
        undefined="fewer than two cells, or measured cells that do not differ",
    )  # fmt: skip


energy_distance = _card(
    "energy_distance", "energy distance between predicted and measured cells",
    "Székely & Rizzo 2013; all pairs: only the measured cells score 0, the ceiling is a replicate",
    energy,
)  # fmt: skip
mmd_rbf = _card(
    "mmd_rbf", "squared maximum mean discrepancy between predicted and measured cells",
    "Gretton et al. 2012, all pairs; bandwidth is the median distance of measured cells", mmd,
)  # fmt: skip
wasserstein_genes = _card(
    "wasserstein_genes", "first Wasserstein distance of each gene, averaged", "definition", per_gene
)
wasserstein_sliced = _card(
    "wasserstein_sliced", "first Wasserstein distance over 128 fixed random directions",
    "Rabin et al. 2011; directions from a fixed generator, so scores compare", sliced,
)  # fmt: skip
