"""Networks from vectors: genes whose embeddings point the same way."""

import numpy as np

from perturbkit.core.features import Features
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard
from perturbkit.graphs.coexpression import SimilarityConfig, similarity_graph


def read(features: Features, config: SimilarityConfig) -> Graph:
    """Link each gene with those of the largest absolute cosine, such as scGPT's top 5.

    Args:
        features: vectors by name; names without a vector are no nodes.
        config: how many neighbours.
    """
    about = Provenance(name=f"{features.name} nearest".strip())
    # centring each row would make it a correlation; a mirrored copy makes the mean zero
    mirrored = np.concatenate([features.values, -features.values], axis=1)
    return similarity_graph(mirrored, features.names, config, about)


card = GraphCard(
    name="embedding",
    summary="genes whose embedding vectors (scGPT, ESM2, ...) have the largest absolute cosine",
    source="TxPert's scGPT-derived graph, from its description",
    read=read,
    config=SimilarityConfig,
    takes="features",
    species="that of the vectors",
    licence="that of the vectors",
)
