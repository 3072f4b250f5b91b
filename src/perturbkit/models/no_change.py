"""The baseline that predicts the control: nothing happens."""

from typing import Self

import numpy as np
import polars as pl

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.deltas import Effects, Frame


class NoChangeConfig(Config):
    """No settings."""


class NoChange:
    """Every perturbation leaves the control profile of its context as it is.

    Perturbations never seen are `prior`; contexts without a control are refused, unless the unit
    is relative to control.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    @classmethod
    def fit(
        cls,
        config: NoChangeConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Keep the control profiles."""
        return cls(Effects.of(train).frame)

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict the control profile of each condition's context."""
        asked = self.frame.ask(conditions)
        _, n_missing = asked.parts(whole=True)
        nothing = np.zeros((len(asked), len(self.frame.readouts)), np.float32)
        return asked.answer(nothing, asked.status(n_missing == 0, "prior"))

    def state(self) -> State:
        """Return names and control profiles."""
        return self.frame.state()

    @classmethod
    def restore(cls, config: NoChangeConfig, state: State) -> Self:
        """Rebuild from `state`."""
        return cls(Frame.restore(state))


card = ModelCard(
    name="no_change",
    summary="the control profile: nothing happens",
    source="Ahlmann-Eltze, Huber & Anders 2025, doi:10.1038/s41592-025-02772-6",
    config=NoChangeConfig,
    model=NoChange,
    baseline=True,
    predicts=frozenset({"perturbations", "combinations"}),
)
