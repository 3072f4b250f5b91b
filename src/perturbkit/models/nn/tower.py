"""A residual layer on the embedding of a condition: it costs once a row, not once a pair."""

import torch
from torch import Tensor, nn


class RowTower(nn.Module):
    """x + W_2 relu(W_1 x + b_1) + b_2; at the start it returns x.

    A sum of projections of context and perturbation cannot say that one context answers a
    perturbation otherwise than another does; this layer can.

    Args:
        width: of the embedding.
        hidden: width of the layer inside.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [r, width] of [r, width]."""
        return x + self.outer(torch.relu(self.inner(x)))

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Draw the inner weights again; the outer ones are zero."""
        self.inner.weight.normal_(0, (2 / self.inner.in_features) ** 0.5, generator=generator)
        self.inner.bias.zero_()
        self.outer.weight.zero_()
        self.outer.bias.zero_()
