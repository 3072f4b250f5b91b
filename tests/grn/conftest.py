"""Planted screens: a sparse linear network with known edges, and cells drawn from it."""

from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from perturbkit.core.screen import Screen


@dataclass(frozen=True)
class Planted:
    screen: Screen
    truth_pg: np.ndarray
    """signed direct effects of perturbed genes, g0, g1, ... by readouts"""
    total_pg: np.ndarray
    """signed total effects, zero for a gene on itself"""

    def matrix(self, graph, column=None):
        """Weights or a column of a graph as a matrix like the truth; 0 where there is no edge."""
        result = np.zeros(self.truth_pg.shape)
        row = np.array([int(n[1:]) for n in graph.nodes])
        inside = row[graph.source] < len(result)
        values = graph.weight if column is None else getattr(graph, column, None)
        values = graph.columns[column] if values is None else values
        result[row[graph.source][inside], row[graph.target][inside]] = values[inside]
        return result

    @property
    def off_diagonal(self):
        return ~np.eye(*self.truth_pg.shape, dtype=bool)


def plant(rng, *, n_perturbed=20, n_genes=80, n_cells=60, n_controls=400, n_idle=5,
            depth=4000.0, loss=0.9, n_batches=2):  # fmt: skip
    """Cells of a layered network; the first `n_perturbed` genes are knocked down in turn."""
    p, g = n_perturbed, n_genes

    def signed(n):
        return rng.choice([-1, 1], n) * rng.uniform(0.6, 1.2, n)

    weights = np.zeros((g, g))
    for j in range(1, g):
        n_parents = rng.integers(0, 3)
        parents = rng.choice(min(j, p), min(n_parents, j, p), replace=False)
        parents = parents[parents >= n_idle]
        weights[parents, j] = signed(len(parents))
    base = rng.normal(0, 0.8, g)
    base[:p] += 1.0
    labels = np.repeat(["control", *(f"g{i}" for i in range(p))], [n_controls, *[n_cells] * p])
    which = np.repeat([-1, *range(p)], [n_controls, *[n_cells] * p])
    n = len(labels)
    level = np.zeros((n, g))
    noise = rng.normal(0, 0.2, (n, g))
    for j in range(g):
        level[:, j] = base[j] + (level - base)[:, :j] @ weights[:j, j] + noise[:, j]
        level[which == j, j] += np.log(1 - loss)
    batch = rng.integers(0, n_batches, n)
    level += rng.normal(0, 0.2, (n_batches, g))[batch]
    share = np.exp(level)
    share /= share.sum(1, keepdims=True)
    counts = rng.poisson(share * depth * rng.lognormal(0, 0.3, (n, 1)))
    obs = pd.DataFrame({"perturbation": labels, "batch": batch.astype(str)},
                       index=[f"c{i}" for i in range(n)])  # fmt: skip
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs,
                       pd.DataFrame(index=[f"g{j}" for j in range(g)]))  # fmt: skip
    screen = Screen.of(adata, level="cells", unit="counts", constants={"kind": "crispri"})
    total = np.linalg.inv(np.eye(g) - weights)
    return Planted(screen, weights[:p], total[:p] - np.eye(g)[:p])


@pytest.fixture
def planted():
    return plant


@pytest.fixture(scope="session")
def screen_with_edges():
    return plant(np.random.default_rng(2), n_cells=40, depth=2000.0)
