"""Blocks of (conditions x readouts): every pair once an epoch, order a function of seed and epoch.

Nothing has to be saved to resume: the position is (epoch, block), the order is drawn again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perturbkit.core.errors import ConfigError
from perturbkit.core.rng import named_rng


@dataclass(frozen=True)
class BlockSampler:
    """Cut a table of rows x columns into shuffled blocks.

    Rows are shuffled and cut; for each cut the columns are shuffled anew and cut; the blocks are
    then shuffled. So pairs meet in new company in every epoch.
    """

    n_rows: int
    n_columns: int
    block_rows: int
    block_columns: int
    seed: int

    def __post_init__(self) -> None:
        sizes = (self.n_rows, self.n_columns, self.block_rows, self.block_columns)
        if min(sizes) < 1:
            message = f"blocks need at least one row and one column everywhere, got {sizes}"
            raise ConfigError(message)

    @property
    def n_blocks(self) -> int:
        """Blocks in one epoch."""
        return -(-self.n_rows // self.block_rows) * -(-self.n_columns // self.block_columns)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, columns), int64 positions, of each block of an epoch from `start` on."""
        rng = named_rng(self.seed, "blocks", epoch)
        rows = _cut(rng.permutation(self.n_rows), self.block_rows)
        columns = [_cut(rng.permutation(self.n_columns), self.block_columns) for _ in rows]
        for block in rng.permutation(self.n_blocks)[start:]:
            i, j = divmod(int(block), len(columns[0]))
            yield rows[i], columns[i][j]


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[i : i + size] for i in range(0, len(order), size)]
