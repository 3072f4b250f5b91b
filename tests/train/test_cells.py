"""Cells reach a model once an epoch, in sets of one condition and batch; held-out ones never."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen
from perturbkit.data.store import CellStore, store_of
from perturbkit.models.card import ModelCard
from perturbkit.models.no_change import card as any_card
from perturbkit.train.cell_batches import CellSource
from perturbkit.train.cells import build_of_cells, cell_data
from perturbkit.train.config import TrainConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def screen():
    return open_screen("simulated", seed=2, preset="tiny")


@pytest.fixture(scope="module")
def store(screen) -> CellStore:
    return store_of(screen)


@pytest.fixture(scope="module")
def truth(screen) -> Responses:
    return responses_of(screen)


def source(store: CellStore, card: ModelCard, **settings) -> CellSource:
    positions = np.arange(0, store.n_cells, 2)
    rows = {"code": torch.arange(store.conditions.height)}
    return CellSource(store, positions, rows, card, TrainConfig(**settings), 7)


@pytest.mark.parametrize("batches", ["cells", "sets"])
def test_each_cell_comes_once_an_epoch(store, batches) -> None:
    card = replace(any_card, level="cells", batches=batches)
    cells = source(store, card, batch_cells=64, set_cells=8)
    got = [batch.cells.numpy() for batch in cells.epoch(0, 0, CPU)]
    assert len(got) == cells.n_batches
    np.testing.assert_array_equal(np.sort(np.concatenate(got)), cells.positions)
    later = [batch.cells.numpy() for batch in cells.epoch(1, 0, CPU)]
    assert not np.array_equal(np.concatenate(got), np.concatenate(later))


@pytest.mark.parametrize("batches", ["cells", "sets"])
def test_going_on_in_the_middle_gives_the_same_batches(store, batches) -> None:
    card = replace(any_card, level="cells", batches=batches, controls=True)
    cells = source(store, card, batch_cells=64, set_cells=8)
    whole = list(cells.epoch(3, 0, CPU))
    part = list(cells.epoch(3, 2, CPU))
    for left, right in zip(whole[2:], part, strict=True):
        assert torch.equal(left.x, right.x)
        assert torch.equal(left.control, right.control)


def test_sets_share_condition_and_batch_and_are_alike_in_size(store) -> None:
    card = replace(any_card, level="cells", batches="sets", controls=True)
    for batch in source(store, card, batch_cells=64, set_cells=8).epoch(0, 0, CPU):
        for number in batch.set_of.unique():
            rows = batch.set_of == number
            assert len(batch.condition[rows].unique()) == 1
            assert len(batch.batch[rows].unique()) == 1
            assert int(rows.sum()) <= 8
        assert batch.control.shape == batch.x.shape
        assert (batch.set_of.diff() >= 0).all()


def test_held_out_conditions_are_in_neither_part(store, truth) -> None:
    held_out = [k for k in truth.keys if not k.startswith("control")][:5]
    val = [k for k in truth.keys if not k.startswith("control")][5:8]
    train = truth.select([k not in (*held_out, *val) for k in truth.keys])
    cells = cell_data(store, train, val, named_rng(0, "cells"))
    from perturbkit.core.condition import condition_keys

    keys = np.array(condition_keys(store.conditions))[store.arrays["condition"]]
    assert set(keys[cells.train_n]) <= set(train.keys)
    assert not set(keys[cells.val_n]) & set(held_out)
    assert set(val) <= set(keys[cells.val_n])
    assert not set(cells.train_n) & set(cells.val_n)
    share = np.isin(keys[cells.val_n], train.keys).sum() / np.isin(keys, train.keys).sum()
    assert 0.05 < share <= 0.1


class Noisy(nn.Module):
    """A mean of each readout, with a loss that draws."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(n))

    @classmethod
    def build(cls, config, cells, features, rng):
        return cls(len(cells.store.readouts))

    def encode(self, table):
        return {"code": torch.arange(table.height)}

    def statuses(self, table):
        return np.array(["seen"] * table.height)

    def loss(self, batch):
        return (batch.x.log1p() - self.mean + torch.randn(())).pow(2).mean()


def test_validation_draws_alike_every_time(store, truth) -> None:
    card = replace(any_card, level="cells", model=Noisy, trained=True)
    cells = cell_data(store, truth, (), named_rng(0, "cells"))
    model, _, validate = build_of_cells(
        card, None, cells, None, TrainConfig(batch_cells=64), lambda name: named_rng(1, name)
    )
    assert validate is not None
    with torch.no_grad():
        first = validate()
        torch.randn(3)
        assert validate() == first
        model.mean += 1
        assert validate() != first


def test_no_cell_is_an_error(store, truth) -> None:
    card = replace(any_card, level="cells")
    with pytest.raises(SchemaError, match="no cell"):
        CellSource(store, np.zeros(0, np.int64), {}, card, TrainConfig(), 0)
    foreign = truth.select([0])
    other = replace(
        store, conditions=store.conditions.with_columns(context=store.conditions["context"] + "x")
    )
    with pytest.raises(SchemaError, match="no training condition has a cell"):
        cell_data(other, foreign, (), named_rng(0, "cells"))
