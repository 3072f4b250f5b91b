"""The grid decoder: an MLP over every pair (row, readout) that never materialises the pairs' input.

The first linear layer of concat(a, b) is W_a a + W_b b, so rows and readouts are projected once
each and added by broadcasting; only the later layers run for each pair. Used by the Large
Perturbation Model and by the cell models' decoders.

What a row and a readout share is a product of the two, which sums of projections can only
approximate with many units. `products` gives the first hidden layer a few inner products
of low rank of the two embeddings: one small matrix product each, and a far narrower network does.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Products:
    """Inner products of row and readout that the first hidden layer sees."""

    n: int = 0
    """how many; 0 is the plain MLP"""
    rank: int = 16
    """width of the vectors that are multiplied"""


class GridDecoder(nn.Module):
    """Score each pair of a row and a readout with one MLP of ReLU layers.

    Args:
        row_width: width of a row's embedding.
        column_width: width of a readout's embedding.
        hidden: width of the hidden layers.
        n_layers: number of hidden layers; 0 makes the score linear in both embeddings.
        dropout: probability of dropping a hidden unit of a pair while training.
        products: inner products beside the sums; with `n_layers` 0 there are none.
    """

    def __init__(
        self,
        row_width: int,
        column_width: int,
        hidden: int,
        n_layers: int,
        dropout: float = 0.0,
        products: Products = Products(),
    ) -> None:
        super().__init__()
        first = hidden if n_layers else 1
        self.row = nn.Linear(row_width, first)
        self.column = nn.Linear(column_width, first, bias=False)
        self.later = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(n_layers - 1))
        self.out = nn.Linear(hidden, 1) if n_layers else None
        self.drop = nn.Dropout(dropout)
        self.products = products if n_layers else Products()
        if self.products.n:
            width = self.products.n * products.rank
            self.row_factor = nn.Linear(row_width, width, bias=False)
            self.column_factor = nn.Linear(column_width, width, bias=False)
            self.mix = nn.Linear(products.n, hidden, bias=False)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the scores [r, q] of rows [r, row_width] against columns [q, column_width]."""
        hidden = self.row(rows)[:, None] + self.column(columns)[None]
        if self.out is None:
            return hidden[..., 0]
        if self.products.n:
            hidden = hidden + self.mix(self._products(rows, columns))
        hidden = self.drop(torch.relu_(hidden))
        for layer in self.later:
            hidden = self.drop(torch.relu_(layer(hidden)))
        return self.out(hidden)[..., 0]

    def _products(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the inner products of each pair, [r, q, n]."""
        shape = (-1, self.products.n, self.products.rank)
        left, right = self.row_factor(rows).view(shape), self.column_factor(columns).view(shape)
        return torch.einsum("rnk,qnk->rqn", left, right)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator, scale: float = 1.0) -> None:
        """Draw the weights again from `generator`: Kaiming for ReLU, biases zero.

        The first layer's fan-in counts both of its halves, since their outputs are added. The
        products begin with unit variance for embeddings of standard deviation `scale`.
        """
        fan_in = self.row.in_features + self.column.in_features
        gain = (2.0 if self.out is not None else 1.0) ** 0.5
        for layer in (self.row, self.column):
            layer.weight.normal_(0, gain / fan_in**0.5, generator=generator)
        for layer in self.later:
            layer.weight.normal_(0, gain / layer.in_features**0.5, generator=generator)  # type: ignore[operator]
        if self.out is not None:
            self.out.weight.normal_(0, 1 / self.out.in_features**0.5, generator=generator)
            self.out.bias.zero_()
        if self.products.n:
            for layer in (self.row_factor, self.column_factor):
                unit = scale * layer.in_features**0.5 * self.products.rank**0.25
                layer.weight.normal_(0, 1 / unit, generator=generator)
            self.mix.weight.normal_(0, gain / self.products.n**0.5, generator=generator)
        for layer in (self.row, *self.later):
            layer.bias.zero_()  # type: ignore[operator]
