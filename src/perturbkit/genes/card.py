"""What the family of gene embeddings promises: the card and the common checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perturbkit.core.catalog import Card
from perturbkit.core.config import Config
from perturbkit.core.features import Features


@dataclass(frozen=True, kw_only=True)
class EmbeddingCard(Card):
    """A way to vectors for genes or compounds."""

    fn: Callable[..., Features]
    """`(source, config, rng) -> Features`, where the source is what `takes` says"""
    config: type[Config]
    """its settings"""
    takes: Literal["graph", "sets", "screen", "file", "smiles"]
    """a network; one from sets to genes; a screen; the path of a file; names with SMILES"""


def fixed_signs(vectors_gd: np.ndarray) -> np.ndarray:
    """Flip each column so that its largest entry is positive: eigenvectors have no sign."""
    if not vectors_gd.size:
        return vectors_gd
    largest = np.abs(vectors_gd).argmax(0)
    signs = np.sign(vectors_gd[largest, np.arange(vectors_gd.shape[1])])
    return vectors_gd * np.where(signs == 0, 1, signs)


def unit_rows(x_gd: np.ndarray) -> np.ndarray:
    """Scale each row to length 1; rows of zeros stay."""
    norm = np.linalg.norm(x_gd, axis=1, keepdims=True)
    return x_gd / np.where(norm > 0, norm, 1)
