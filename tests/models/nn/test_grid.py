"""The grid decoder equals the plain MLP on every concatenated pair."""

import pytest
import torch
from torch import nn

from perturbkit.models.nn.grid import GridDecoder


def plain(grid: GridDecoder, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The same network on materialised pairs, as the published code computes it."""
    r, q = len(rows), len(columns)
    pairs = torch.cat([rows.repeat_interleave(q, 0), columns.repeat(r, 1)], 1)
    first = nn.Linear(pairs.shape[1], grid.row.out_features)
    first.weight.data = torch.cat([grid.row.weight, grid.column.weight], 1)
    first.bias.data = grid.row.bias
    layers: list[nn.Module] = [first]
    if grid.out is not None:
        layers.append(nn.ReLU())
        for layer in grid.later:
            layers += [layer, nn.ReLU()]
        layers.append(grid.out)
    return nn.Sequential(*layers)(pairs).reshape(r, q)


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_equals_the_mlp_on_materialised_pairs(n_layers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    grid = GridDecoder(5, 3, 16, n_layers)
    grid.initialize(generator)
    rows = torch.randn(7, 5, generator=generator)
    columns = torch.randn(4, 3, generator=generator)
    torch.testing.assert_close(grid(rows, columns), plain(grid, rows, columns))


def test_gradients_equal_those_of_the_plain_mlp() -> None:
    generator = torch.Generator().manual_seed(1)
    grid = GridDecoder(5, 3, 16, 2)
    grid.initialize(generator)
    rows = torch.randn(6, 5, generator=generator, requires_grad=True)
    columns = torch.randn(9, 3, generator=generator, requires_grad=True)
    ours = torch.autograd.grad(grid(rows, columns).pow(2).sum(), (rows, columns))
    theirs = torch.autograd.grad(plain(grid, rows, columns).pow(2).sum(), (rows, columns))
    torch.testing.assert_close(ours, theirs)


def test_initial_scores_have_unit_scale() -> None:
    generator = torch.Generator().manual_seed(2)
    grid = GridDecoder(32, 32, 256, 2)
    grid.initialize(generator)
    rows = torch.randn(64, 32, generator=generator)
    columns = torch.randn(64, 32, generator=generator)
    assert 0.3 < grid(rows, columns).std().item() < 3
