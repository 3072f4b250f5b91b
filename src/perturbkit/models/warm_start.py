"""Where embeddings may start: leading factors of what a network is to learn."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from perturbkit.core.condition import conditions_of
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.closed_form import leading_directions
from perturbkit.models.deltas import nan_mean

_MOST = 64
"""factors found at most"""


@dataclass(frozen=True, eq=False)
class Factors:
    """values ~ left @ right, the columns of either side of mean square `size`, largest first 1."""

    left_af: np.ndarray
    right_fg: np.ndarray

    @classmethod
    def of(cls, values_ag: np.ndarray, n: int, rng: np.random.Generator) -> Self:
        """Return the leading factors of a table without gaps."""
        direction_fg = leading_directions(values_ag, n, rng)
        score_af = values_ag @ direction_fg.T
        size_f = np.sqrt(np.square(score_af).sum(0))
        share_f = np.sqrt(size_f / max(float(size_f.max(initial=0)), 1e-30))
        unit_f = np.sqrt(len(values_ag)) * share_f / np.maximum(size_f, 1e-30)
        right = direction_fg * np.sqrt(values_ag.shape[1]) * share_f[:, None]
        return cls((score_af * unit_f).astype(np.float32), right.astype(np.float32))


@dataclass(frozen=True, eq=False)
class WarmFactors:
    """Factors of targets and of contexts over the readouts."""

    targets: Factors
    """of the mean deviation of the conditions that hold a target, over all contexts"""
    contexts: Factors
    """of the mean of each context"""
    seen: np.ndarray
    """positions, among the rows of the embedding, of the targets in `targets`"""

    @torch.no_grad()
    def put(self, identity: Tensor, readout: Tensor, most: int, scale: float) -> int:
        """Overwrite up to `most` leading columns of both embeddings; return how many."""
        n = min(most, self.targets.left_af.shape[1])
        where = torch.from_numpy(self.seen)
        identity[where, :n] = scale * torch.from_numpy(self.targets.left_af[:, :n])
        readout[:, :n] = scale * torch.from_numpy(self.targets.right_fg[:n].T)
        return n

    @torch.no_grad()
    def put_contexts(self, context: Tensor, readout: Tensor, start: int, scale: float) -> int:
        """Overwrite the columns after `start`, a quarter of the width at most."""
        most = min(context.shape[1] - start, context.shape[1] // 4)
        n = min(most, self.contexts.left_af.shape[1])
        end = start + n
        context[:, start:end] = scale * torch.from_numpy(self.contexts.left_af[:, :n])
        readout[:, start:end] = scale * torch.from_numpy(self.contexts.right_fg[:n].T)
        return n


def warm_factors(
    table: pl.DataFrame, values_cg: np.ndarray, names: Vocabulary, rng: np.random.Generator
) -> WarmFactors:
    """Return the leading factors of what a network is to say of its training conditions.

    Args:
        table: the training conditions.
        values_cg: float32 [c, g], NaN where not measured.
        names: targets in the order of their embedding.
        rng: draws the sketch in which directions are found, where there are more than 600 rows.
    """
    conditions = conditions_of(table)
    contexts = sorted({c.context for c in conditions})
    code_c = np.array([contexts.index(c.context) for c in conditions])
    perturbed = np.array([not c.is_control for c in conditions])
    means = np.zeros((len(contexts), values_cg.shape[1]), np.float32)
    for k in range(len(contexts)):
        rows = values_cg[(code_c == k) & perturbed]
        means[k] = np.nan_to_num(nan_mean(rows)) if len(rows) else 0
    deviation = values_cg - means[code_c]
    pairs = [(t, i) for i, c in enumerate(conditions) for t in set(c.targets)]
    at_p = names.find(t for t, _ in pairs)
    seen, place = np.unique(at_p, return_inverse=True)
    known = ~np.isnan(deviation)
    total = np.zeros((len(seen), values_cg.shape[1]), np.float32)
    count = np.zeros_like(total)
    rows = np.array([i for _, i in pairs], np.int64)
    np.add.at(total, place, np.where(known, deviation, 0)[rows])
    np.add.at(count, place, known[rows].astype(np.float32))
    targets = Factors.of(total / np.maximum(count, 1), _MOST, rng)
    return WarmFactors(targets, Factors.of(means, len(contexts), rng), seen)
