"""The baseline that carries the mean deviation of a perturbation over to other contexts."""

import numpy as np
import polars as pl

from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard
from perturbkit.models.deltas import Asked, Effects
from perturbkit.models.shrunken import ShrinkageConfig, ShrunkenEffects


class MeanDelta(ShrunkenEffects):
    """Mean change of the context plus the perturbation's shrunken mean deviation elsewhere.

    A deviation is a change minus the mean change of its context. A combination never seen gets
    the sum of its targets' deviations. Perturbations never seen get the mean change: `prior`.
    """

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus mean change plus what the perturbation shares over contexts."""
        asked = self.effects.frame.ask(conditions)
        delta, n_missing = shared_change(self.effects, asked, self.shrinkage)
        return asked.answer(delta, asked.status(n_missing == 0, "prior"))


def shared_change(
    effects: Effects, asked: Asked, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted change of each condition, and its number of unknown targets."""
    parts, n_missing = asked.parts(whole=True)
    codes = np.unique(parts.indices)
    deviation = parts[:, codes] @ effects.shared(codes, shrinkage)
    return effects.frame.mean_of(asked.context_q) + deviation, n_missing


card = ModelCard(
    name="mean_delta",
    summary="context mean plus the perturbation's shrunken mean deviation in all contexts",
    source=(
        "'perturb_mean' of STATE and 'general' of TxPert, on deviations, with the sum over n "
        "contexts divided by n + shrinkage and the shrinkage chosen by leaving contexts out"
    ),
    config=ShrinkageConfig,
    model=MeanDelta,
    baseline=True,
    needs=frozenset({"contexts"}),
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
