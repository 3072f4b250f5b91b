"""The baseline that predicts the mean change of the context, whatever the perturbation."""

from typing import Self

import numpy as np
import polars as pl

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.deltas import Effects, Frame


class ContextMeanConfig(Config):
    """No settings."""


class ContextMean:
    """Every perturbation does what the training perturbations of its context do on average.

    Combinations and doses make no difference. A perturbation never seen is `prior`, and so is a
    context of which only the control was seen: it gets the mean over the other contexts' means.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    @classmethod
    def fit(
        cls,
        config: ContextMeanConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Average the changes of each context."""
        return cls(Effects.of(train).frame)

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus the mean change of each condition's context."""
        asked = self.frame.ask(conditions)
        _, n_missing = asked.parts(whole=True)
        status = asked.status(n_missing == 0, "prior")
        return asked.answer(self.frame.mean_of(asked.context_q), status)

    def state(self) -> State:
        """Return names, control profiles and mean changes."""
        return self.frame.state()

    @classmethod
    def restore(cls, config: ContextMeanConfig, state: State) -> Self:
        """Rebuild from `state`."""
        return cls(Frame.restore(state))


card = ModelCard(
    name="context_mean",
    summary="control plus the mean change over the training perturbations of the context",
    source=(
        "the 'mean' baseline of Ahlmann-Eltze, Huber & Anders 2025, "
        "doi:10.1038/s41592-025-02772-6, in each context"
    ),
    config=ContextMeanConfig,
    model=ContextMean,
    baseline=True,
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
