"""How connected a gene is: all that a rewired network still knows, the control of ablations."""

import numpy as np
from scipy import sparse

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.genes.card import EmbeddingCard
from perturbkit.genes.spectral import graph_features


class DegreeConfig(Config):
    """The degree has no settings."""


def degree_features(graph: Graph, config: DegreeConfig, rng: np.random.Generator) -> Features:
    """Return log1p of degree and strength, and of the neighbours' mean degree, standardised.

    Every node has features: no neighbour is a fact as well.
    """
    degree = graph.degree.astype(np.float64)
    adjacency = graph.adjacency
    both = adjacency.maximum(adjacency.T) if graph.directed else adjacency
    links = sparse.csr_array(both > 0, dtype=np.float64)
    near = (links @ degree) / np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    x_gd = np.log1p(np.stack([degree, np.asarray(both.sum(1)).ravel(), near], axis=1))
    spread = x_gd.std(0)
    x_gd = (x_gd - x_gd.mean(0)) / np.where(spread > 1e-9, spread, 1)
    return graph_features(graph, np.ones(len(degree), bool), x_gd, "degree")


card = EmbeddingCard(
    name="degree",
    summary="how connected a gene and its neighbours are; the control of every network",
    source="log1p of degree, strength and mean degree of neighbours",
    fn=degree_features,
    config=DegreeConfig,
    takes="graph",
)
