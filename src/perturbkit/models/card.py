"""What the family of models promises: the card, and the shapes that a model can have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl

from perturbkit.core.catalog import Card
from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses

if TYPE_CHECKING:
    from perturbkit.models.cells import CellBatch, CellData, PredictedCells

State = tuple[dict[str, np.ndarray], dict[str, Any]]
"""What a fitted model is: arrays (safetensors) and plain values (JSON)."""


@runtime_checkable
class FittedModel(Protocol):
    """What every fitted model does."""

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict any conditions, each with its status: seen, prior, neighbour or refused.

        Refused conditions are NaN. Order of rows does not matter.
        """
        ...

    def state(self) -> State:
        """Return everything needed to restore the model."""
        ...

    @classmethod
    def restore(cls, config: Any, state: State) -> Self:
        """Rebuild the model from `state`, equal to the bit."""
        ...


class ClosedFormModel(FittedModel, Protocol):
    """A model that fits in one call: `Model.fit(config, train, features, rng)`."""

    @classmethod
    def fit(
        cls, config: Any, train: Responses, features: Features | None, rng: np.random.Generator
    ) -> Self:
        """Fit on measured conditions, controls included; NaN means not measured."""
        ...


class TrainedModel(FittedModel, Protocol):
    """An `nn.Module` that the training loop fits; sizes come from the data by `build`."""

    @classmethod
    def build(
        cls, config: Any, train: Responses, features: Features | None, rng: np.random.Generator
    ) -> Self:
        """Make an untrained model whose vocabularies are those of `train`."""
        ...

    def loss(self, batch: Any) -> Any:
        """Return the scalar loss of one batch."""
        ...


@runtime_checkable
class WeighedModel(Protocol):
    """A trained model of profiles that asks validation conditions how far to trust its parts."""

    def weigh_base(self, val: Responses) -> None:
        """Before training: settle what the network's targets are made from."""
        ...

    def weigh_network(self, val: Responses) -> None:
        """After training: settle how much of the network is added."""
        ...

    def again(self, train: Responses, features: Features | None, rng: np.random.Generator) -> Self:
        """Return an untrained model on more conditions, with what was settled here."""
        ...


class CellModel(FittedModel, Protocol):
    """A model of cells: it learns from single cells and can answer with some.

    Trained ones are `nn.Module`s with `build`, `encode` and `loss`; the others have
    `fit(config, cells, features, rng)`. `predict` gives the mean in the unit of the profiles.
    """

    @classmethod
    def build(
        cls, config: Any, cells: "CellData", features: Features | None, rng: np.random.Generator
    ) -> Self:
        """Make an untrained model whose vocabularies are those of the training cells."""
        ...

    def encode(self, conditions: pl.DataFrame) -> dict[str, Any]:
        """Return conditions as tensors with the first axis c; held-out ones must not fail."""
        ...

    def statuses(self, conditions: pl.DataFrame) -> np.ndarray:
        """Return how each condition can be answered: seen, prior, neighbour or refused."""
        ...

    def loss(self, batch: "CellBatch") -> Any:
        """Return the scalar loss of one batch."""
        ...

    def predict_cells(
        self, conditions: pl.DataFrame, n: int, rng: np.random.Generator
    ) -> "PredictedCells":
        """Draw `n` cells of each condition; refused conditions have none."""
        ...


@dataclass(frozen=True, kw_only=True)
class ModelCard(Card):
    """A model."""

    config: type[Config]
    """its hyper-parameters"""
    model: type
    """its class"""
    trained: bool = False
    """whether the training loop fits it (`build`, `loss`) or it fits itself (`fit`)"""
    level: Literal["profiles", "cells"] = "profiles"
    """what it learns from: mean responses, or single cells"""
    batches: Literal["cells", "sets"] = "cells"
    """of a trained model of cells: shuffled cells, or sets of cells of one condition and batch"""
    controls: bool = False
    """of a trained model of cells: whether each cell comes with a matched control cell"""
    train: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """settings of the training loop that suit it, over the defaults of `TrainConfig`"""
    baseline: bool = False
    """whether it belongs beside every score"""
    needs: frozenset[str] = frozenset()
    """what it cannot do without: "features" (gene features), "combinations", "contexts" (several),
    "counts" (of single cells)"""
    before: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """what settings that came later amount to in a run written before they existed"""
    predicts: frozenset[str] = frozenset()
    """what it can answer beyond seen perturbations in seen contexts: "perturbations" (unseen
    single targets), "combinations" (unseen ones of seen targets), "contexts" (unseen)"""
