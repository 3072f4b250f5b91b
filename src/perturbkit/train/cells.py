"""Fit a model of cells: which cells train and validate, the source of batches, validation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from perturbkit.core.condition import condition_keys
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.rng import torch_generator
from perturbkit.data.store import CellStore
from perturbkit.models.card import ModelCard
from perturbkit.models.cells import CellBatch, CellData
from perturbkit.train.cell_batches import CellSource
from perturbkit.train.config import TrainConfig

VALIDATION_SHARE = 0.1
"""share of the cells of each training condition that early stopping looks at"""
MOST_VALIDATION_CELLS = 4096
"""more cells would cost time and hardly change a mean"""


def cell_data(
    store: CellStore, train: Responses, val_keys: Sequence[str], rng: np.random.Generator
) -> CellData:
    """Divide the cells of a store by the fold of their condition.

    Args:
        store: every cell of the screen.
        train: the training conditions.
        val_keys: keys of the validation conditions, which may be none.
        rng: draws the validation cells of the training conditions: `VALIDATION_SHARE` of those
            with at least ten.

    Raises:
        SchemaError: no training condition has a cell.
    """
    keys = condition_keys(store.conditions)
    in_train = np.isin(keys, train.keys)[store.arrays["condition"]]
    in_val = np.isin(keys, list(val_keys))[store.arrays["condition"]]
    if not in_train.any():
        message = "no training condition has a cell; the split and the cells are of two screens"
        raise SchemaError(message)
    train_n = np.flatnonzero(in_train)
    code = store.arrays["condition"][train_n].astype(np.int64)
    order = np.lexsort((rng.random(train_n.size), code))
    _, starts, sizes = np.unique(code[order], return_index=True, return_counts=True)
    rank = np.arange(train_n.size) - np.repeat(starts, sizes)
    few = np.where(sizes >= 1 / VALIDATION_SHARE, sizes * VALIDATION_SHARE, 0).astype(np.int64)
    stopping = np.zeros(train_n.size, bool)
    stopping[order] = rank < np.repeat(few, sizes)
    val_n = np.union1d(train_n[stopping], np.flatnonzero(in_val))
    if val_n.size > MOST_VALIDATION_CELLS:
        val_n = np.sort(rng.choice(val_n, MOST_VALIDATION_CELLS, replace=False))
    return CellData(store, train_n[~stopping], val_n, train)


def build_of_cells(
    card: ModelCard, config: Any, cells: CellData, features: Features | None,
    train: TrainConfig, rng: Callable[[str], np.random.Generator],
) -> tuple[Any, CellSource, Callable[[], float] | None]:  # fmt: skip
    """Return an untrained model of cells, its batches, and its validation loss."""
    model = card.model.build(config, cells, features, rng("build"))
    rows = model.encode(cells.store.conditions)
    seed = int(rng("order").integers(2**31))
    source = CellSource(cells.store, cells.train_n, rows, card, train, seed)
    return model, source, validation_of(model, cells, source, rng("validation"))


def validation_of(
    model: Any, cells: CellData, source: CellSource, rng: np.random.Generator
) -> Callable[[], float] | None:
    """Return the mean loss over the validation cells that the model can answer.

    Draws inside the loss start at the same place each time, so that epochs compare.
    """
    answered = model.statuses(cells.store.conditions) != "refused"
    kept = cells.val_n[answered[cells.store.arrays["condition"][cells.val_n]]]
    if not kept.size:
        return None
    source = replace(source, positions=kept)
    state = torch_generator(rng).get_state()

    def mean_loss() -> float:
        device = next(model.parameters()).device
        total = n = 0.0
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.set_rng_state(state)
            for batch in source.epoch(0, 0, device):
                total += float(_validation_loss(model, batch)) * len(batch.x)
                n += len(batch.x)
        return total / n

    return mean_loss


def _validation_loss(model: Any, batch: CellBatch) -> torch.Tensor:
    """A model may judge itself by another number than it descends, as without warm-up terms."""
    own = getattr(model, "validation_loss", None)
    return model.loss(batch) if own is None else own(batch)
