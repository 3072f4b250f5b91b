"""What models of shrunken deviations share: the settings, the fit, the state."""

from typing import Self

import numpy as np
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import State
from perturbkit.models.deltas import Effects


class ShrinkageConfig(Config):
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


class ShrunkenEffects:
    """The measured changes, and how strongly a deviation seen in few contexts is shrunken.

    A deviation is a change minus the mean change of its context. Models say how they predict.
    """

    def __init__(self, effects: Effects, shrinkage: float) -> None:
        self.effects = effects
        self.shrinkage = shrinkage

    @classmethod
    def fit(
        cls,
        config: ShrinkageConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Collect deviations and choose the shrinkage by leaving each context out."""
        effects = Effects.of(train)
        return cls(effects, shrinkage_left_out(effects, config.shrinkages))

    def state(self) -> State:
        """Return the training changes and the shrinkage chosen."""
        arrays, values = self.effects.state()
        return arrays, {**values, "shrinkage": self.shrinkage}

    @classmethod
    def restore(cls, config: ShrinkageConfig, state: State) -> Self:
        """Rebuild from `state`."""
        return cls(Effects.restore(state), state[1]["shrinkage"])
