"""Cells that failed quality control: which they are, and what the same cell would look like."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from perturbkit.models.cells import CellData

MOST_CELLS = 50
"""cells of one condition whose median stands for the counterfactual"""


class Artefact(nn.Module):
    """A ~ N(0, I), added for cells that failed quality control; q(A) = N(free).

    A cell has failed if its total or its number of detected readouts lies more than `threshold`
    median absolute deviations below the median of the training cells.

    The counterfactual of a cell is the readout-wise median of up to 50 training cells of its own
    condition that had the other outcome of quality control.

    Source:
        CRADLE-VAE (Baek et al. 2025), as equations; its published code takes the counterfactual
        from rows of other perturbations and leaves out the variance in its divergence.
    """

    lowest: Tensor
    counterfactual: Tensor
    has_counterfactual: Tensor
    n_failed: Tensor

    def __init__(self, width: int, n_conditions: int, n_readouts: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.mean = nn.Parameter(torch.zeros(width))
        self.log_var = nn.Parameter(torch.full((width,), -4.0))
        self.register_buffer("lowest", torch.full((2,), -1.0))
        self.register_buffer("counterfactual", torch.zeros(n_conditions, 2, n_readouts))
        flags = torch.zeros(n_conditions, 2, dtype=torch.bool)
        self.register_buffer("has_counterfactual", flags)
        self.register_buffer("n_failed", torch.ones(()))

    def learn(self, cells: CellData, rng: np.random.Generator) -> None:
        """Set thresholds and counterfactual profiles from the training cells."""
        store, rows = cells.store, cells.train_n
        sizes = np.concatenate([_sizes(store.dense(part)) for part in _blocks(rows)])
        middle = np.median(sizes, 0)
        spread = np.median(np.abs(sizes - middle), 0)
        self.lowest.copy_(torch.from_numpy(middle - self.threshold * spread))
        failed = (sizes < middle - self.threshold * spread).any(1).astype(np.int64)
        self.n_failed.fill_(float(max(failed.sum(), 1)))
        code = store.arrays["condition"][rows]
        for c in np.unique(code):
            for flag in (0, 1):
                mine = rows[(code == c) & (failed == flag)]
                if not mine.size:
                    continue
                few = rng.permutation(mine)[:MOST_CELLS]
                median = np.median(store.dense(np.sort(few)), axis=0)
                self.counterfactual[c, flag] = torch.from_numpy(median)
                self.has_counterfactual[c, flag] = True

    def failed(self, x: Tensor) -> Tensor:
        """Return 1 for cells that failed, else 0, float32 [n]."""
        sizes = torch.stack([x.sum(-1), (x > 0).sum(-1).to(x)], -1)
        return (sizes < self.lowest).any(-1).to(x)

    def draw(self, n_particles: int) -> Tensor:
        """Draw A for each particle, [s, width]."""
        noise = torch.randn(n_particles, len(self.mean), device=self.mean.device)
        return self.mean + (0.5 * self.log_var).exp() * noise

    def others(self, condition: Tensor, failed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the counterfactual of each cell, [n, g], and whether there is one, [n].

        Args:
            condition: code of each cell's condition in the store.
            failed: outcome of each cell.
        """
        other = 1 - failed.long()
        return self.counterfactual[condition, other], self.has_counterfactual[condition, other]


def _sizes(x_ng: np.ndarray) -> np.ndarray:
    return np.stack([x_ng.sum(1), (x_ng > 0).sum(1)], 1).astype(np.float64)


def _blocks(rows: np.ndarray, size: int = 4096) -> Any:
    return (rows[i : i + size] for i in range(0, len(rows), size))
