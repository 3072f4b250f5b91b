"""Batches of single cells for the training loop; the order is a function of seed and epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from perturbkit.core.errors import SchemaError
from perturbkit.core.rng import named_rng
from perturbkit.data.store import CellStore
from perturbkit.models.card import ModelCard
from perturbkit.models.cells import CellBatch
from perturbkit.train.config import TrainConfig


@dataclass(frozen=True, eq=False)
class CellSource:
    """Cells from a store in batches, each cell once an epoch.

    Sets hold cells of one condition and batch, drawn anew in each epoch, and none is repeated to
    fill a set: the last set of a group is smaller.
    """

    store: CellStore
    positions: np.ndarray
    """the cells to take, int64"""
    rows: dict[str, torch.Tensor]
    """what the model's `encode` made of the store's conditions"""
    card: ModelCard
    config: TrainConfig
    seed: int

    def __post_init__(self) -> None:
        if not self.positions.size:
            message = "there is no cell to train on; check the split and the filters"
            raise SchemaError(message)

    @property
    def n_batches(self) -> int:
        """Batches in one epoch."""
        if self.card.batches == "cells":
            return -(-self.positions.size // self.config.batch_cells)
        return -(-self._n_sets // self._sets_per_batch)

    @property
    def _sets_per_batch(self) -> int:
        return max(1, self.config.batch_cells // self.config.set_cells)

    @property
    def _n_sets(self) -> int:
        sizes = np.unique(self._groups(), return_counts=True)[1]
        return int((-(-sizes // self.config.set_cells)).sum())

    def _groups(self) -> np.ndarray:
        """Return the condition and batch of each cell as one number."""
        condition = self.store.arrays["condition"][self.positions].astype(np.int64)
        return condition * len(self.store.batches) + self.store.arrays["batch"][self.positions]

    def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator[CellBatch]:
        """Yield the batches of an epoch from batch `start` on."""
        rows = {k: v.to(device) for k, v in self.rows.items()}
        for number, (cells, set_of) in enumerate(self._batches(epoch)):
            if number >= start:
                yield self._batch(epoch, number, cells, set_of, rows, device)

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        rng = named_rng(self.seed, "cells", epoch)
        if self.card.batches == "cells":
            order, size = rng.permutation(self.positions), self.config.batch_cells
            for low in range(0, order.size, size):
                yield order[low : low + size], None
            return
        sets, size = self._sets(rng), self._sets_per_batch
        for low in range(0, len(sets), size):
            part = sets[low : low + size]
            lengths = [cells.size for cells in part]
            yield np.concatenate(part), np.repeat(np.arange(len(part)), lengths)

    def _sets(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the sets of an epoch in random order, positions of each."""
        group = self._groups()
        order = np.lexsort((rng.random(group.size), group))
        ends = np.flatnonzero(np.diff(group[order])) + 1
        size, sets = self.config.set_cells, []
        for cells in np.split(self.positions[order], ends):
            n_sets = -(-cells.size // size)
            sets += np.array_split(cells, n_sets)  # alike in size, none of a single left-over
        return [sets[i] for i in rng.permutation(len(sets))]

    def _batch(
        self, epoch: int, number: int, cells: np.ndarray, set_of: np.ndarray | None,
        rows: dict[str, torch.Tensor], device: torch.device,
    ) -> CellBatch:  # fmt: skip
        store, control = self.store, None
        if self.card.controls:
            matched = store.matched_controls(cells, named_rng(self.seed, "match", epoch, number))
            control = torch.from_numpy(store.dense(matched)).to(device)
        return CellBatch(
            torch.from_numpy(store.dense(cells)).to(device),
            torch.from_numpy(store.arrays["condition"][cells].astype(np.int64)).to(device),
            torch.from_numpy(store.arrays["batch"][cells].astype(np.int64)).to(device),
            rows, control, None if set_of is None else torch.from_numpy(set_of).to(device),
            torch.from_numpy(cells).to(device),
        )  # fmt: skip
