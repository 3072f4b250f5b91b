"""Spectral embedding: genes near each other in a network get near vectors."""

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import eigsh

from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.card import EmbeddingCard, fixed_signs, unit_rows


class SpectralConfig(Config):
    """Settings of the spectral embedding."""

    width: int = Field(default=128, ge=1)
    """how many eigenvectors"""
    regularisation: float = Field(default=0.25, ge=0)
    """added to each degree, in mean degrees: tames small dangling parts"""
    weighted: bool = True
    """use the weights of the edges"""
    unit_length: bool = True
    """scale each gene's vector to length 1"""


def spectral_vectors(
    adjacency: sparse.csr_array, width: int, regularisation: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the leading eigenvectors of (D + tI)^-1/2 A (D + tI)^-1/2, largest first.

    Args:
        adjacency: symmetric, not negative.
        width: how many.
        regularisation: t in mean degrees.
        rng: starts the iteration; the result agrees between seeds up to its tolerance.

    Returns:
        Vectors [g, d] with fixed signs, and eigenvalues [d] in [-1, 1].

    Source:
        Qin & Rohe 2013, arXiv:1309.4111 (regularised spectral clustering).
    """
    degree = np.asarray(adjacency.sum(1)).ravel().astype(np.float64)
    degree += regularisation * degree.mean()
    scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    normal = (scale @ adjacency.astype(np.float64) @ scale).tocsr()
    start = rng.normal(size=len(degree))
    if width >= len(degree) - 1:
        values, vectors = np.linalg.eigh(normal.toarray())
    else:
        # more basis vectors than by default: eigenvalues near 1 lie close together
        ncv = min(len(degree) - 1, max(2 * width + 1, width + 200))
        values, vectors = eigsh(normal, k=width, which="LA", v0=start, ncv=ncv, tol=1e-4)
    order = np.argsort(-values)[:width]
    return fixed_signs(vectors[:, order]), values[order]


def spectral_features(graph: Graph, config: SpectralConfig, rng: np.random.Generator) -> Features:
    """Return eigenvectors times eigenvalues; genes without an edge are missing.

    Raises:
        SchemaError: no edges.
    """
    if not graph.n_edges:
        message = f"{graph!r} has no edge; a spectral embedding needs some"
        raise SchemaError(message)
    adjacency = graph.adjacency
    if graph.directed:
        adjacency = adjacency.maximum(adjacency.T)
    connected = graph.degree > 0
    inside = sparse.csr_array(adjacency[connected][:, connected])
    if not config.weighted:
        inside = (inside > 0).astype(np.float32)
    vectors, values = spectral_vectors(inside, config.width, config.regularisation, rng)
    x_gd = vectors * np.maximum(values, 0)
    x_gd = unit_rows(x_gd) if config.unit_length else x_gd * np.sqrt(len(x_gd))
    return graph_features(graph, connected, x_gd, "spectral")


def graph_features(graph: Graph, has: np.ndarray, x_gd: np.ndarray, kind: str) -> Features:
    """Wrap vectors of some nodes; the other nodes are missing."""
    names = np.array(graph.nodes.names, dtype=object)
    label = f"{kind} of {graph.provenance.name or 'a network'}"
    return Features(Vocabulary(names[has], "gene"), x_gd, label, tuple(names[~has]))


card = EmbeddingCard(
    name="spectral",
    summary="leading eigenvectors of a network: neighbours get near vectors",
    source="Qin & Rohe 2013, arXiv:1309.4111; eigenvectors scaled by eigenvalues",
    fn=spectral_features,
    config=SpectralConfig,
    takes="graph",
)
