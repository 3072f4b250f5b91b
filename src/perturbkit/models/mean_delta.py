"""The baseline that carries the mean deviation of a perturbation over to other contexts."""

from typing import Self

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.deltas import Asked, Effects


class MeanDeltaConfig(Config):
    """How strongly a mean over few contexts is drawn to zero."""

    shrinkages: tuple[float, ...] = Field(
        default=(0.0, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0), min_length=1
    )
    """candidates: the sum over n contexts is divided by n + shrinkage; cross-validation chooses"""


def shrinkage_left_out(effects: Effects, shrinkages: tuple[float, ...]) -> float:
    """Return the candidate that best predicts each deviation from those in other contexts.

    Every row whose perturbation was measured in another context takes part; the error is the
    squared one, summed over rows and readouts. Without such rows: 1, or the nearest candidate.
    """
    deviation, known = effects.deviation_rg, effects.is_measured
    n_p = np.bincount(effects.perturbation_r, minlength=len(effects.frame.perturbations))
    rows = np.flatnonzero(n_p[effects.perturbation_r] > 1)
    if not len(rows):
        return min(shrinkages, key=lambda s: abs(s - 1))
    order = rows[np.argsort(effects.perturbation_r[rows], kind="stable")]
    _, start = np.unique(effects.perturbation_r[order], return_index=True)
    size = np.diff(np.append(start, len(order)))
    total = np.repeat(np.add.reduceat(deviation[order], start), size, 0) - deviation[order]
    n = np.repeat(np.add.reduceat(known[order].astype(np.float32), start), size, 0) - known[order]
    use = known[order] & (n > 0)
    total, n, truth = total[use].astype(np.float64), n[use], deviation[order][use]
    errors = [np.square(truth - total / (n + s)).sum() for s in shrinkages]
    return shrinkages[int(np.argmin(errors))]


class MeanDelta:
    """Mean change of the context plus the perturbation's shrunken mean deviation elsewhere.

    A deviation is a change minus the mean change of its context. A combination never seen gets
    the sum of its targets' deviations. Perturbations never seen get the mean change: `prior`.
    """

    def __init__(self, effects: Effects, shrinkage: float) -> None:
        self.effects = effects
        self.shrinkage = shrinkage

    @classmethod
    def fit(
        cls,
        config: MeanDeltaConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Collect deviations and choose the shrinkage by leaving each context out."""
        effects = Effects.of(train)
        return cls(effects, shrinkage_left_out(effects, config.shrinkages))

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus mean change plus what the perturbation shares over contexts."""
        asked = self.effects.frame.ask(conditions)
        delta, n_missing = shared_change(self.effects, asked, self.shrinkage)
        return asked.answer(delta, asked.status(n_missing == 0, "prior"))

    def state(self) -> State:
        """Return the training changes and the shrinkage chosen."""
        arrays, values = self.effects.state()
        return arrays, {**values, "shrinkage": self.shrinkage}

    @classmethod
    def restore(cls, config: MeanDeltaConfig, state: State) -> Self:
        """Rebuild from `state`."""
        return cls(Effects.restore(state), state[1]["shrinkage"])


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
    config=MeanDeltaConfig,
    model=MeanDelta,
    baseline=True,
    needs=frozenset({"contexts"}),
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
