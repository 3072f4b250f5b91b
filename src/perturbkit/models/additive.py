"""The baseline for combinations: the sum of what each target does alone."""

from typing import Self

import numpy as np
import polars as pl
from scipy import sparse

from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.deltas import Asked, Effects
from perturbkit.models.mean_delta import MeanDeltaConfig, shrinkage_left_out


class AdditiveConfig(MeanDeltaConfig):
    """How a target not measured alone in this context is carried over from other contexts."""


def single_changes(
    effects: Effects, asked: Asked, shrinkage: float
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Return the change of each known target in the context asked for.

    Measured there, it is the measured change; otherwise the context's mean change plus the
    target's shrunken mean deviation in other contexts.

    Returns:
        Which changes each condition has [conditions, changes], the changes [changes, readouts],
        and the number of unknown targets of each condition.
    """
    parts, n_missing = asked.parts(whole=False)
    pairs = sparse.coo_matrix(parts)
    context, code = asked.context_q[pairs.row], pairs.col.astype(np.int64)
    n = len(effects.frame.perturbations)
    unique, place = np.unique((context + 1) * n + code, return_inverse=True)
    context, code = unique // n - 1, unique % n
    codes, which = np.unique(code, return_inverse=True)
    change = effects.frame.mean_of(context) + effects.shared(codes, shrinkage)[which]
    row = np.where(context >= 0, effects.row_kp[context, code], -1)
    here = row >= 0
    measured = effects.delta_rg[row[here]]
    change[here] = np.where(np.isnan(measured), change[here], measured)
    shape = (len(asked), len(unique))
    return sparse.csr_matrix((np.ones(len(place)), (pairs.row, place)), shape), change, n_missing


class Additive:
    """A combination does the sum of what its targets do alone.

    A target that was never seen alone adds the mean change of the context (`prior`); conditions
    of which no target is known are refused.
    """

    def __init__(self, effects: Effects, shrinkage: float) -> None:
        self.effects = effects
        self.shrinkage = shrinkage

    @classmethod
    def fit(
        cls,
        config: AdditiveConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Collect the changes and choose the shrinkage by leaving each context out."""
        effects = Effects.of(train)
        return cls(effects, shrinkage_left_out(effects, config.shrinkages))

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus the sum of the changes of the targets."""
        asked = self.effects.frame.ask(conditions)
        pick, change, n_missing = single_changes(self.effects, asked, self.shrinkage)
        general = self.effects.frame.mean_of(asked.context_q)
        delta = pick @ change + np.where(n_missing[:, None] > 0, n_missing[:, None] * general, 0)
        n_known = np.diff(pick.indptr)
        otherwise = np.where(n_known > 0, "prior", "refused")
        return asked.answer(delta, asked.status(n_missing == 0, otherwise))

    def state(self) -> State:
        """Return the training changes and the shrinkage chosen."""
        arrays, values = self.effects.state()
        return arrays, {**values, "shrinkage": self.shrinkage}

    @classmethod
    def restore(cls, config: AdditiveConfig, state: State) -> Self:
        """Rebuild from `state`."""
        return cls(Effects.restore(state), state[1]["shrinkage"])


card = ModelCard(
    name="additive",
    summary="sum of the changes of the targets, each as measured alone",
    source=(
        "Ahlmann-Eltze, Huber & Anders 2025, doi:10.1038/s41592-025-02772-6; a target not "
        "measured in this context is carried over by mean_delta, an unknown one adds the mean"
    ),
    config=AdditiveConfig,
    model=Additive,
    baseline=True,
    needs=frozenset({"combinations"}),
    predicts=frozenset({"combinations", "contexts"}),
)
