"""Agreement of the clusters that measured and predicted perturbations form."""

import numpy as np
from scipy import sparse, special

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import CellsPair
from perturbkit.metrics.discrimination import gap_sums

TRUTH_RESOLUTION = 1.0
RESOLUTIONS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
"""Resolutions tried for the prediction; the best agreement counts."""
N_NEIGHBOURS = 15


def fuzzy_graph(x_pg: np.ndarray, n_neighbours: int) -> sparse.coo_matrix:
    """Weights between near neighbours, symmetric, as UMAP defines them.

    Each point's kernel exp(-(d - rho) / sigma), rho its distance to the nearest, is scaled so that
    it sums to log2 of the number of neighbours; both directions join by a + b - ab.

    Source:
        McInnes, Healy & Melville 2018, arXiv:1802.03426, section 3.1; as scanpy.pp.neighbors.
    """
    distance = np.sqrt(gap_sums(x_pg, x_pg, absolute=False))
    k = min(n_neighbours, len(x_pg) - 1)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    near = np.take_along_axis(distance, order, 1)
    rho = near[:, 1] if k > 1 else np.zeros(len(near))
    rest = np.maximum(near[:, 1:] - rho[:, None], 0)
    low, high = np.zeros(len(near)), np.full(len(near), np.inf)
    sigma = np.ones(len(near))
    for _ in range(64):
        total = np.exp(-rest / sigma[:, None]).sum(1)
        above = total > np.log2(k)
        high, low = np.where(above, sigma, high), np.where(above, low, sigma)
        sigma = np.where(np.isinf(high), sigma * 2, (low + np.where(np.isinf(high), 0, high)) / 2)
    sigma = np.maximum(sigma, 1e-3 * near.mean(1))
    weight = np.exp(-rest / sigma[:, None])
    rows = np.repeat(np.arange(len(near)), k - 1)
    one = sparse.csr_matrix(
        (weight.ravel(), (rows, order[:, 1:].ravel())), shape=(len(near), len(near))
    )
    return (one + one.T - one.multiply(one.T)).tocoo()


def adjusted_mutual_information(one: np.ndarray, two: np.ndarray) -> float:
    """Mutual information of two labellings above chance; 1 for the same clusters, 0 at random.

    Source:
        Vinh, Epps & Bailey 2010, arithmetic mean of entropies; sklearn has the same.
    """
    _, a = np.unique(one, return_inverse=True)
    _, b = np.unique(two, return_inverse=True)
    n = len(a)
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    rows, columns = table.sum(1), table.sum(0)
    if len(rows) == len(columns) and len(rows) in (1, n):
        return 1.0
    mutual = (special.xlogy(table, table * n) - special.xlogy(table, np.outer(rows, columns))).sum()
    entropy = [-(special.xlogy(x, x / n)).sum() / n for x in (rows, columns)]
    chance = _expected_mutual_information(rows, columns, n)
    scale = np.mean(entropy) - chance
    return float((mutual / n - chance) / (scale if abs(scale) > 1e-15 else 1e-15))


def _expected_mutual_information(rows: np.ndarray, columns: np.ndarray, n: int) -> float:
    """Mean mutual information of random labellings with these cluster sizes."""
    log_factorial = special.gammaln(np.arange(n + 1) + 1.0)
    total = 0.0
    for a in rows.astype(int):
        for b in columns.astype(int):
            m = np.arange(max(1, a + b - n), min(a, b) + 1)
            log_p = (
                log_factorial[a] + log_factorial[b] + log_factorial[n - a] + log_factorial[n - b]
                - log_factorial[n] - log_factorial[m] - log_factorial[a - m]
                - log_factorial[b - m] - log_factorial[n - a - b + m]
            )  # fmt: skip
            total += (m / n * np.log(n * m / (a * b)) * np.exp(log_p)).sum()
    return total


class _Draws:
    """Random bits for igraph as scanpy gives them, so that its clusters come out the same."""

    def __init__(self) -> None:
        self._state = np.random.RandomState(0)

    def getrandbits(self, k: int) -> int:
        return self._state.tomaxint() & ((1 << k) - 1)

    def randint(self, a: int, b: int) -> int:
        return self._state.randint(a, b + 1)

    def random(self) -> float:
        return self._state.random_sample()

    def gauss(self, mean: float, scale: float) -> float:
        return self._state.normal(mean, scale)


def leiden(graph: sparse.coo_matrix, resolution: float) -> np.ndarray | None:
    """Return Leiden clusters of a weighted graph, or None where igraph is not installed.

    As scanpy.tl.leiden(flavor="igraph", n_iterations=2): every edge once in each direction.
    """
    try:
        import igraph
    except ImportError:
        return None
    import random

    network = igraph.Graph(directed=False)
    network.add_vertices(graph.shape[0])
    ordered = graph.tocsr().tocoo()
    network.add_edges(np.stack([ordered.row, ordered.col], 1))
    igraph.set_random_number_generator(_Draws())
    try:
        found = network.community_leiden(
            objective_function="modularity", weights=ordered.data.astype(np.float64),
            resolution=resolution, n_iterations=2,
        )  # fmt: skip
    finally:
        igraph.set_random_number_generator(random)
    return np.asarray(found.membership)


def labels(pair: CellsPair) -> np.ndarray:
    """Cluster of each perturbation, measured and then predicted at each resolution [p, 1 + r]."""
    result = np.full((len(pair.perturbations), 1 + len(RESOLUTIONS)), np.nan)
    if len(result) < 3:
        return result
    measured = leiden(fuzzy_graph(pair.truth.bulk_pg, N_NEIGHBOURS), TRUTH_RESOLUTION)
    if measured is None:
        return result
    result[:, 0] = measured
    graph = fuzzy_graph(pair.predicted.bulk_pg, N_NEIGHBOURS)
    for i, resolution in enumerate(RESOLUTIONS):
        result[:, 1 + i] = leiden(graph, resolution)
    return result


def best_agreement(parts_pk: np.ndarray) -> float:
    """Largest adjusted mutual information over the resolutions, at least 0."""
    if np.isnan(parts_pk).any() or not len(parts_pk):
        return float("nan")
    return max(0.0, *(adjusted_mutual_information(parts_pk[:, 0], r) for r in parts_pk.T[1:]))


clustering_agreement = CellsCard(
    name="clustering_agreement",
    summary="adjusted mutual information of Leiden clusters of the perturbations' means",
    source="cell-eval 0.8.2 `clustering_agreement`: 15 neighbours, best of 7 resolutions",
    fn=labels,
    pool=best_agreement,
    better="higher",
    best=1.0,
    bounds=(0.0, 1.0),
    undefined="needs the package igraph and at least three perturbations",
    resample=False,
)
