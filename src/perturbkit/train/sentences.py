"""Train the cell embedding: batches of sentences with hidden genes, validation, the whole fit."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch

from perturbkit.core.errors import UnitError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.rng import named_rng, torch_generator
from perturbkit.core.run import Run
from perturbkit.data.store import CellStore, ShuffledCells
from perturbkit.models.nn.sentence import draw_hidden, sentences
from perturbkit.models.state_embedding import SentenceBatch, StateEmbedding, StateEmbeddingConfig
from perturbkit.train.config import TrainConfig
from perturbkit.train.loop import Hooks, train

_FOR_MEANS = 5000
"""cells that the means of genes are taken from"""


def logged(cells: CellStore, rows: np.ndarray) -> np.ndarray:
    """Return some cells of a store in log1p_cp10k, float32 [n, g].

    Raises:
        UnitError: the cells are in another unit.
    """
    if cells.unit not in ("counts", "log1p_cp10k"):
        message = f"the cells are in {cells.unit}; the embedding needs counts or log1p_cp10k"
        raise UnitError(message)
    return cells.dense(rows, log=cells.unit == "counts")


def means(cells: CellStore, rows: np.ndarray, at_once: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean log value of each readout, and the share of cells it is above 0 in."""
    total, seen = np.zeros((2, len(cells.readouts)))
    for low in range(0, len(rows), at_once):
        x = logged(cells, rows[low : low + at_once])
        total += x.sum(0, dtype=np.float64)
        seen += (x > 0).sum(0)
    n = max(1, len(rows))
    return (total / n).astype(np.float32), (seen / n).astype(np.float32)


class SentenceSource:
    """Batches of cells as sentences; each epoch shuffles cells, ties and hidden genes anew.

    What a batch holds follows from the seed, the epoch and its number alone.
    """

    def __init__(
        self,
        cells: CellStore,
        rows: np.ndarray,
        config: StateEmbeddingConfig,
        batch_size: int,
        seed: int,
    ) -> None:
        self.cells, self.rows, self.config, self.seed = cells, rows, config, seed
        self.order = ShuffledCells(len(rows), min(batch_size, len(rows)), seed)
        self.n_batches = self.order.n_batches
        self.columns = torch.arange(len(cells.readouts))

    def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator[SentenceBatch]:
        """Yield the batches of an epoch from batch `start` on."""
        for i, at in enumerate(self.order.epoch(epoch, start), start):
            yield self.batch(self.rows[at], named_rng(self.seed, "sentence", epoch, i), device)

    def batch(
        self, rows: np.ndarray, rng: np.random.Generator, device: torch.device
    ) -> SentenceBatch:
        """Return some cells as sentences, with genes hidden that `rng` draws."""
        generator = torch_generator(rng)
        x = torch.from_numpy(logged(self.cells, rows))
        n_asked = max(1, min(self.config.n_asked, x.shape[1] // 2))
        asked = draw_hidden(x, n_asked, generator)
        hidden = torch.zeros(x.shape[1], dtype=torch.bool)
        hidden[asked] = True
        order = torch.rand(x.shape, generator=generator)
        genes, values = sentences(x, self.config.sentence_length, order, hidden)
        dataset = torch.from_numpy(self.cells.arrays["batch"][rows].astype(np.int64))
        tensors = (self.columns, genes, values, asked, x[:, asked], dataset)
        return SentenceBatch(*(t.to(device) for t in tensors))


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What is known of genes besides the cells."""

    features: Features | None = None
    """vectors by gene"""
    graphs: Mapping[str, Graph] | None = None
    """networks"""


def fit_embedding(
    cells: CellStore,
    config: StateEmbeddingConfig,
    schedule: TrainConfig,
    seed: int,
    *,
    knowledge: Knowledge | None = None,
    run: Run | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> StateEmbedding:
    """Train a cell embedding on nine tenths of the cells; the last tenth says when to stop.

    Args:
        cells: the cells; their batches are the data sets.
        config: the model.
        schedule: the training; `batch_cells` cells make a batch.
        seed: of everything that is drawn.
        knowledge: features and networks of genes.
        run: where checkpoints and records go.
        watch: told of the progress.

    Raises:
        DivergedError: the loss left the finite numbers.
        UnitError: the cells are neither counts nor log1p_cp10k.
    """
    known = knowledge or Knowledge()
    order = named_rng(seed, "cells", "held out").permutation(cells.n_cells)
    n_val = min(2048, cells.n_cells // 10)
    val, rows = order[:n_val], order[n_val:]
    model = StateEmbedding.build(
        config, cells.readouts, means(cells, rows[:_FOR_MEANS]), named_rng(seed, "build"),
        features=known.features, graphs=known.graphs, datasets=cells.batches,
    )  # fmt: skip
    source = SentenceSource(cells, rows, config, schedule.batch_cells, seed)
    hooks = Hooks(validate=partial(_validate, model, source, val, schedule.batch_cells))
    if run is not None:
        hooks.folder = run.path / "checkpoints"
        hooks.record = lambda event: run.log(asdict(event))
    if watch is not None:
        hooks.watch = watch
    train(model, source, schedule, named_rng(seed, "train"), hooks)
    return model.to("cpu").eval()


@torch.no_grad()
def _validate(
    model: StateEmbedding, source: SentenceSource, rows: np.ndarray, batch_size: int
) -> float:
    """Return the loss on held-out cells, the same genes hidden each time."""
    device, losses = model.cls.device, []
    for low in range(0, len(rows), batch_size):
        part = rows[low : low + batch_size]
        batch = source.batch(part, named_rng(source.seed, "validation", low), device)
        losses.append(float(model.loss(batch)) * len(part))
    return sum(losses) / max(1, len(rows))
