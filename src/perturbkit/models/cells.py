"""What models of cells are built on, fed with, and answer with."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
from torch import Tensor

from perturbkit.core.condition import CONDITION_SCHEMA, condition_keys
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.store import CellStore


@dataclass(frozen=True, eq=False)
class CellData:
    """The cells of a screen and which of them a model may learn from."""

    store: CellStore
    """every cell of the screen, those held out included; read only the positions below"""
    train_n: np.ndarray
    """positions of the training cells in the store, int64, ascending; controls included"""
    val_n: np.ndarray
    """positions of cells for early stopping: some of each training condition, and the cells of
    the validation conditions"""
    profiles: Responses
    """mean responses of the training conditions, controls included"""

    @property
    def profile_unit(self) -> str:
        """The unit of means over cells: counts are averaged as log1p per ten thousand."""
        return self.profiles.unit


@dataclass(frozen=True, eq=False)
class CellBatch:
    """Some cells; all tensors are on the device of the model."""

    x: Tensor
    """float32 [n, g], in the unit of the store"""
    condition: Tensor
    """int64 [n], positions in `rows`"""
    batch: Tensor
    """int64 [n], positions in the store's batches"""
    rows: dict[str, Tensor]
    """what the model's `encode` made of every condition of the store, first axis c"""
    control: Tensor | None = None
    """float32 [n, g], a control cell of the same context and, where there is one, batch for each
    cell; only if the model's card asks for it"""
    set_of: Tensor | None = None
    """int64 [n], ascending: the set that each cell is in, where the card asks for sets; the cells
    of a set share condition and batch"""
    cells: Tensor | None = field(default=None)
    """int64 [n], positions in the store"""


@dataclass(frozen=True, eq=False)
class PredictedCells:
    """Cells that a model says a condition would give."""

    conditions: pl.DataFrame
    """a row for each condition asked for, with its `status`"""
    x: Sequence[np.ndarray | None]
    """for each condition float32 [n, g]; None where it is refused"""
    readouts: Vocabulary
    unit: str
    """`counts` or the unit of the profiles"""

    def adata(self) -> ad.AnnData:
        """Return one AnnData, cell after cell; refused conditions have none and are in `uns`."""
        answered = [(i, x) for i, x in enumerate(self.x) if x is not None]
        kept, sizes = [i for i, _ in answered], [len(x) for _, x in answered]
        parts = [x for _, x in answered]
        x_ng = np.concatenate(parts) if parts else np.zeros((0, len(self.readouts)), np.float32)
        table = self.conditions.select(*CONDITION_SCHEMA, "status")
        rows = np.repeat(np.array(kept, np.int64), sizes)
        obs = pd.DataFrame({c: table[c].to_numpy()[rows] for c in table.columns})
        obs["batch"] = "predicted"
        obs.index = pd.Index([f"predicted_{i}" for i in range(len(rows))], dtype=object)
        refused = [k for k, x in zip(condition_keys(table), self.x, strict=True) if x is None]
        var = pd.DataFrame(index=pd.Index(list(self.readouts), dtype=object))
        uns = {"perturbkit": {"level": "cells", "unit": self.unit, "format": 1},
               "refused": np.array(refused, dtype=object)}  # fmt: skip
        return ad.AnnData(x_ng, obs=obs, var=var, uns=uns)


def joined_cells(parts: Sequence[PredictedCells]) -> PredictedCells:
    """Return the cells of several members as one; what any member refuses is refused.

    Args:
        parts: at least one, all of the same conditions, readouts and unit.
    """
    first = parts[0]
    x: list[np.ndarray | None] = []
    for several in zip(*(part.x for part in parts), strict=True):
        given = [each for each in several if each is not None]
        x.append(np.concatenate(given) if len(given) == len(several) else None)
    return PredictedCells(first.conditions, x, first.readouts, first.unit)
