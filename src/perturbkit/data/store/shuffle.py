"""A true shuffle of cells, the same on every rank and after every restart."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perturbkit.core.errors import ConfigError
from perturbkit.core.rng import named_rng


@dataclass(frozen=True)
class ShuffledCells:
    """Batches of positions, each position once an epoch, in an order drawn for each epoch.

    All ranks draw the same permutation and take every n-th batch of it, so that together they see
    each cell once. The last cells that do not fill a batch on every rank wait for another epoch.
    """

    n_cells: int
    batch_size: int
    seed: int
    rank: int = 0
    n_ranks: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.n_ranks:
            message = f"rank is {self.rank} of {self.n_ranks}; ranks are numbered from 0"
            raise ConfigError(message)
        if self.batch_size < 1 or self.n_batches < 1:
            message = (
                f"{self.n_cells:,} cells do not fill one batch of {self.batch_size} on each of "
                f"{self.n_ranks} ranks; use smaller batches"
            )
            raise ConfigError(message)

    @property
    def n_batches(self) -> int:
        """Batches of this rank in an epoch."""
        return self.n_cells // (max(self.batch_size, 1) * self.n_ranks)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the batches of an epoch from the batch `start` on; positions, int64."""
        order = named_rng(self.seed, "cells", epoch).permutation(self.n_cells)
        for number in range(start, self.n_batches):
            at = (number * self.n_ranks + self.rank) * self.batch_size
            yield order[at : at + self.batch_size]
