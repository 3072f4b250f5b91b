"""The grid decoder equals the plain MLP on every concatenated pair."""

import pytest
import torch
from torch import nn

from perturbkit.models.nn.grid import GridDecoder, Products
from perturbkit.models.nn.tower import RowTower


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


def test_products_are_inner_products_of_row_and_readout() -> None:
    generator = torch.Generator().manual_seed(3)
    grid = GridDecoder(5, 3, 8, 1, products=Products(2, 4))
    grid.initialize(generator)
    rows = torch.randn(6, 5, generator=generator)
    columns = torch.randn(7, 3, generator=generator)
    left = grid.row_factor(rows).view(6, 1, 2, 4)
    right = grid.column_factor(columns).view(1, 7, 2, 4)
    first = grid.row(rows)[:, None] + grid.column(columns) + grid.mix((left * right).sum(-1))
    torch.testing.assert_close(grid(rows, columns), grid.out(first.relu())[..., 0])


def test_products_start_at_unit_scale_whatever_the_embeddings_have() -> None:
    generator = torch.Generator().manual_seed(4)
    grid = GridDecoder(64, 32, 8, 1, products=Products(16, 16))
    grid.initialize(generator, scale=0.3)
    rows = 0.3 * torch.randn(200, 64, generator=generator)
    columns = 0.3 * torch.randn(200, 32, generator=generator)
    assert 0.7 < grid._products(rows, columns).std().item() < 1.4


def test_a_tower_starts_as_the_identity() -> None:
    tower = RowTower(6, 10)
    tower.initialize(torch.Generator().manual_seed(5))
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(6))
    assert torch.equal(tower(x), x)
