"""Set membership: genes in the same GO terms or pathways get near vectors."""

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import svds

from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.sets import membership
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.card import EmbeddingCard, fixed_signs, unit_rows


class MembershipConfig(Config):
    """Settings of the membership embedding."""

    width: int = Field(default=64, ge=1)
    """length of the vectors"""
    min_size: int = Field(default=2, ge=1)
    """smaller sets are left out"""
    max_size: int = Field(default=2000, ge=2)
    """larger sets are left out"""


def membership_features(
    sets: Graph, config: MembershipConfig, rng: np.random.Generator
) -> Features:
    """Return a truncated SVD of membership, each set weighted by -log of its share of genes.

    Args:
        sets: a network from sets to genes, read with `as_sets = true`.
        config: the settings.
        rng: starts the iteration.

    Raises:
        SchemaError: another kind of network, or no set of these sizes.
    """
    matrix, genes, _ = membership(sets)
    size = np.asarray(matrix.sum(0)).ravel()
    kept = (size >= config.min_size) & (size <= config.max_size)
    if kept.sum() < 2:
        message = (
            f"{int(kept.sum())} sets have between {config.min_size} and {config.max_size} genes; "
            "at least 2 are needed: widen the limits"
        )
        raise SchemaError(message)
    rarity = np.log(len(genes) / size[kept])
    weighted = sparse.csr_array(matrix[:, kept] @ sparse.diags_array(rarity))
    norm = np.sqrt(np.asarray(weighted.power(2).sum(1)).ravel())
    has = norm > 0
    rows = sparse.csr_array(sparse.diags_array(1 / norm[has]) @ weighted[has], dtype=np.float64)
    width = min(config.width, min(rows.shape) - 1)
    u, s, _ = svds(rows, k=width, v0=rng.normal(size=min(rows.shape)))
    order = np.argsort(-s)
    x_gd = unit_rows(fixed_signs(u[:, order]) * s[order])
    names = np.array(genes.names, dtype=object)
    label = f"membership of {sets.provenance.name or 'sets'}"
    return Features(Vocabulary(names[has], "gene"), x_gd, label, tuple(names[~has]))


card = EmbeddingCard(
    name="membership",
    summary="truncated SVD of membership in GO terms, pathways or any sets",
    source="latent semantic indexing, Deerwester 1990, with idf weights",
    fn=membership_features,
    config=MembershipConfig,
    takes="sets",
)
