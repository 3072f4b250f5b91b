"""What the family of models promises: the card, and the two shapes a model of profiles can have."""

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl

from perturbkit.core.catalog import Card
from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses

State = tuple[dict[str, np.ndarray], dict[str, Any]]
"""What a fitted model is: arrays (safetensors) and plain values (JSON)."""


@runtime_checkable
class FittedModel(Protocol):
    """What every fitted model of profiles does."""

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


@dataclass(frozen=True, kw_only=True)
class ModelCard(Card):
    """A model of profiles."""

    config: type[Config]
    """its hyper-parameters"""
    model: type
    """its class"""
    trained: bool = False
    """whether the training loop fits it (`build`, `loss`) or it fits itself (`fit`)"""
    baseline: bool = False
    """whether it belongs beside every score"""
    needs: frozenset[str] = frozenset()
    """what it cannot do without: "features" (gene features), "combinations", "contexts" (several)
    """
    predicts: frozenset[str] = frozenset()
    """what it can answer beyond seen perturbations in seen contexts: "perturbations" (unseen
    single targets), "combinations" (unseen ones of seen targets), "contexts" (unseen)"""
