"""The baseline for combinations: the mean of what each target does alone."""

from typing import Self

import numpy as np
import polars as pl

from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.additive import single_changes
from perturbkit.models.card import ModelCard, State
from perturbkit.models.deltas import Effects
from perturbkit.models.mean_delta import MeanDeltaConfig, shrinkage_left_out


class MatchingMeanConfig(MeanDeltaConfig):
    """How a target not measured alone in this context is carried over from other contexts."""


class MatchingMean:
    """A combination does the mean of what its targets do alone.

    A target that was never seen alone counts with the mean change of the context (`prior`).
    """

    def __init__(self, effects: Effects, shrinkage: float) -> None:
        self.effects = effects
        self.shrinkage = shrinkage

    @classmethod
    def fit(
        cls,
        config: MatchingMeanConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Collect the changes and choose the shrinkage by leaving each context out."""
        effects = Effects.of(train)
        return cls(effects, shrinkage_left_out(effects, config.shrinkages))

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus the mean over the targets' changes."""
        asked = self.effects.frame.ask(conditions)
        pick, change, n_missing = single_changes(self.effects, asked, self.shrinkage)
        general = self.effects.frame.mean_of(asked.context_q)
        total = pick @ change + np.where(n_missing[:, None] > 0, n_missing[:, None] * general, 0)
        n_parts = np.maximum(np.diff(pick.indptr) + n_missing, 1)
        return asked.answer(total / n_parts[:, None], asked.status(n_missing == 0, "prior"))

    def state(self) -> State:
        """Return the training changes and the shrinkage chosen."""
        arrays, values = self.effects.state()
        return arrays, {**values, "shrinkage": self.shrinkage}

    @classmethod
    def restore(cls, config: MatchingMeanConfig, state: State) -> Self:
        """Rebuild from `state`."""
        return cls(Effects.restore(state), state[1]["shrinkage"])


card = ModelCard(
    name="matching_mean",
    summary="mean of the changes of the targets, each as measured alone",
    source=(
        "Systema (Nature Biotechnology 2025): mean of the centroids of a combination's targets; "
        "an unseen target counts with the mean over all perturbations of the context"
    ),
    config=MatchingMeanConfig,
    model=MatchingMean,
    baseline=True,
    needs=frozenset({"combinations"}),
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
