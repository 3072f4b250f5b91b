"""The grid decoder: an MLP over every pair (row, readout) that never materialises the pairs' input.

The first linear layer of concat(a, b) is W_a a + W_b b, so rows and readouts are projected once
each and added by broadcasting; only the later layers run for each pair. Used by the Large
Perturbation Model and by the cell models' decoders.
"""

import torch
from torch import Tensor, nn


class GridDecoder(nn.Module):
    """Score each pair of a row and a readout with one MLP of ReLU layers.

    Args:
        row_width: width of a row's embedding.
        column_width: width of a readout's embedding.
        hidden: width of the hidden layers.
        n_layers: number of hidden layers; 0 makes the score linear in both embeddings.
        dropout: probability of dropping a hidden unit of a pair while training.
    """

    def __init__(
        self, row_width: int, column_width: int, hidden: int, n_layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        first = hidden if n_layers else 1
        self.row = nn.Linear(row_width, first)
        self.column = nn.Linear(column_width, first, bias=False)
        self.later = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(n_layers - 1))
        self.out = nn.Linear(hidden, 1) if n_layers else None
        self.drop = nn.Dropout(dropout)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the scores [r, q] of rows [r, row_width] against columns [q, column_width]."""
        hidden = self.row(rows)[:, None] + self.column(columns)[None]
        if self.out is None:
            return hidden[..., 0]
        hidden = self.drop(torch.relu_(hidden))
        for layer in self.later:
            hidden = self.drop(torch.relu_(layer(hidden)))
        return self.out(hidden)[..., 0]

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Draw the weights again from `generator`: Kaiming for ReLU, biases zero.

        The first layer's fan-in counts both of its halves, since their outputs are added.
        """
        fan_in = self.row.in_features + self.column.in_features
        self.row.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        self.column.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        self.row.bias.zero_()
        for layer in self.later:
            assert isinstance(layer, nn.Linear)
            layer.weight.normal_(0, (2 / layer.in_features) ** 0.5, generator=generator)
            layer.bias.zero_()
        if self.out is not None:
            self.out.weight.normal_(0, (1 / self.out.in_features) ** 0.5, generator=generator)
            self.out.bias.zero_()
