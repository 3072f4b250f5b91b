"""Random-walk embedding: genes that walks meet together get near vectors."""

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import svds

from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.genes.card import EmbeddingCard, fixed_signs, unit_rows
from perturbkit.genes.spectral import graph_features


class RandomWalkConfig(Config):
    """Settings of the random-walk embedding; p and q are node2vec's."""

    width: int = Field(default=64, ge=1)
    """length of the vectors"""
    n_walks: int = Field(default=10, ge=1)
    """walks from each gene"""
    length: int = Field(default=40, ge=2)
    """steps of each walk"""
    window: int = Field(default=5, ge=1)
    """genes at most so many steps apart count as met together"""
    p: float = Field(default=1.0, gt=0)
    """larger: less going back at once"""
    q: float = Field(default=1.0, gt=0)
    """larger: stay near where the walk came from"""
    unit_length: bool = True
    """scale each gene's vector to length 1"""


def walks(
    adjacency: sparse.csr_array, config: RandomWalkConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return walks from every node at once, int32 [n_walks * nodes, length + 1].

    Each step follows an edge in proportion to its weight; candidates are accepted with
    node2vec's odds: 1/p for going back, 1 for a neighbour of the last node, 1/q otherwise.

    Source:
        Grover & Leskovec 2016, doi:10.1145/2939672.2939754; rejection as in KnightKing 2019.
    """
    n = adjacency.shape[0]
    total = np.cumsum(adjacency.data.astype(np.float64))
    before = np.append(0, total)[adjacency.indptr[:-1]]
    weight = np.append(0, total)[adjacency.indptr[1:]] - before
    codes = np.repeat(np.arange(n, dtype=np.int64), np.diff(adjacency.indptr)) * n
    codes += adjacency.indices
    here = np.tile(np.arange(n), config.n_walks)
    path = np.empty((len(here), config.length + 1), np.int32)
    path[:, 0] = here
    top = max(1 / config.p, 1, 1 / config.q)
    for step in range(1, config.length + 1):
        waiting = np.arange(len(here))
        while len(waiting):
            now = path[waiting, step - 1]
            at = np.searchsorted(total, before[now] + rng.random(len(now)) * weight[now], "right")
            at = np.clip(at, adjacency.indptr[now], adjacency.indptr[now + 1] - 1)
            then = adjacency.indices[at]
            path[waiting, step] = then
            if step == 1 or config.p == config.q == 1:
                break
            last = path[waiting, step - 2].astype(np.int64)
            code = last * n + then
            place = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
            odds = np.where(codes[place] == code, 1.0, 1 / config.q)
            odds = np.where(then == last, 1 / config.p, odds)
            waiting = waiting[rng.random(len(waiting)) * top > odds]
    return path


def met_together(path: np.ndarray, n: int, window: int) -> sparse.csr_array:
    """Count how often two nodes are at most `window` steps apart, symmetric."""
    counts = sparse.csr_array((n, n), dtype=np.float32)
    for gap in range(1, window + 1):
        a, b = path[:, :-gap].ravel(), path[:, gap:].ravel()
        ones = np.ones(len(a), np.float32)
        counts = counts + sparse.csr_array((ones, (a, b)), shape=(n, n))
    return sparse.csr_array(counts + counts.T)


def shifted_information(counts: sparse.csr_array) -> sparse.csr_array:
    """Return the positive pointwise mutual information of pairs, as skip-gram factorises it.

    Source:
        Levy & Goldberg 2014 (NeurIPS); Qiu 2018, doi:10.1145/3159652.3159706.
    """
    entries = counts.tocoo()
    total = np.asarray(counts.sum(1)).ravel()
    row, column = entries.coords
    value = np.log(entries.data * total.sum() / (total[row] * total[column]))
    keep = value > 0
    return sparse.csr_array((value[keep], (row[keep], column[keep])), shape=counts.shape)


def walk_features(graph: Graph, config: RandomWalkConfig, rng: np.random.Generator) -> Features:
    """Return factors of what random walks meet together; genes without an edge are missing.

    Raises:
        SchemaError: no edges.
    """
    if not graph.n_edges:
        message = f"{graph!r} has no edge; walks need some"
        raise SchemaError(message)
    adjacency = graph.adjacency
    if graph.directed:
        adjacency = adjacency.maximum(adjacency.T)
    connected = graph.degree > 0
    inside = sparse.csr_array(adjacency[connected][:, connected])
    inside.sort_indices()
    path = walks(inside, config, rng)
    matrix = shifted_information(met_together(path, inside.shape[0], config.window))
    width = min(config.width, inside.shape[0] - 1)
    u, s, _ = svds(matrix.astype(np.float64), k=width, v0=rng.normal(size=inside.shape[0]))
    order = np.argsort(-s)
    x_gd = fixed_signs(u[:, order]) * np.sqrt(s[order])
    return graph_features(
        graph, connected, unit_rows(x_gd) if config.unit_length else x_gd, "random walks"
    )


card = EmbeddingCard(
    name="random_walk",
    summary="what node2vec's walks meet together, factorised: communities and roles",
    source="Grover & Leskovec 2016; factorised as in Qiu 2018, doi:10.1145/3159652.3159706",
    fn=walk_features,
    config=RandomWalkConfig,
    takes="graph",
)
