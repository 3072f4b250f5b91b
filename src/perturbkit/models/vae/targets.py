"""What a batch's conditions are made of: targets, how often each occurs, and how strongly."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Targets(NamedTuple):
    """The targets of some conditions."""

    which: Tensor
    """int64 [u], positions of the distinct targets that occur, ascending"""
    vectors: Tensor | None
    """[u, d], what the perturbation encoder says of each; None for one-hot targets"""
    member_cu: Tensor
    """[c, u], how much of each target is in each condition: 1 or 0 times the dose's factor"""


class TargetTable(nn.Module):
    """Some numbers for each target: free ones, or a linear map of the target's vector.

    Args:
        width: numbers per target.
        n_targets: targets of training.
        vector_width: width of the encoder's vectors; 0 gives free numbers.
        generator: draws the start.
        start: mean at the start of training.
        spread: standard deviation around it.
    """

    def __init__(
        self, width: int, n_targets: int, vector_width: int, generator: torch.Generator, *,
        start: float = 0.0, spread: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width = width
        if vector_width:
            self.start = nn.Parameter(torch.full((width,), start))
            weight = torch.randn(width, vector_width, generator=generator) * max(spread, 1e-2)
            self.map = nn.Parameter(weight)
            self.free = None
        else:
            values = start + spread * torch.randn(n_targets, width, generator=generator)
            self.free = nn.Parameter(values)

    def forward(self, targets: Targets) -> Tensor:
        """Return the numbers of the targets, [u, width]."""
        if self.free is not None:
            return self.free[targets.which]
        assert targets.vectors is not None
        return self.start + targets.vectors.float() @ self.map.T


class DoseFactor(nn.Module):
    """exp(a log10(dose) + b log10(time / 24 h)): a power law; 1 where neither is stated."""

    def __init__(self) -> None:
        super().__init__()
        self.exponents = nn.Parameter(torch.zeros(2))

    def forward(self, dose_um: Tensor, time_h: Tensor) -> Tensor:
        """Return the factor of each condition, [c]; NaN means not stated."""
        log = [torch.log10(torch.nan_to_num(v / unit, nan=1.0).clamp_min(1e-6))
               for v, unit in ((dose_um, 1.0), (time_h, 24.0))]  # fmt: skip
        return torch.exp((torch.stack(log, -1) * self.exponents).sum(-1).clamp(-10, 10))
