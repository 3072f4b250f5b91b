"""The baseline for combinations: the sum of what each target does alone."""

import numpy as np
import polars as pl
from scipy import sparse

from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard
from perturbkit.models.deltas import Asked, Effects
from perturbkit.models.shrunken import ShrinkageConfig, ShrunkenEffects


def summed_changes(
    effects: Effects, asked: Asked, shrinkage: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sum of the changes of each condition's targets, in the context asked for.

    A target measured there counts with its measured change, one known elsewhere with the
    context's mean change plus its shrunken mean deviation, an unknown one with the mean change.

    Returns:
        The sums [conditions, readouts], and the numbers of known and of unknown targets.
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
    pick = sparse.csr_matrix((np.ones(len(place)), (pairs.row, place)), shape)
    unknown = np.flatnonzero(n_missing)  # a mean change may be NaN where nobody needs it
    total = pick @ change
    total[unknown] += n_missing[unknown, None] * effects.frame.mean_of(asked.context_q[unknown])
    return total, np.diff(pick.indptr), n_missing


class Additive(ShrunkenEffects):
    """A combination does the sum of what its targets do alone.

    A target that was never seen alone adds the mean change of the context (`prior`); conditions
    of which no target is known are refused.
    """

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus the sum of the changes of the targets."""
        asked = self.effects.frame.ask(conditions)
        total, n_known, n_missing = summed_changes(self.effects, asked, self.shrinkage)
        otherwise = np.where(n_known > 0, "prior", "refused")
        return asked.answer(total, asked.status(n_missing == 0, otherwise))


card = ModelCard(
    name="additive",
    summary="sum of the changes of the targets, each as measured alone",
    source=(
        "Ahlmann-Eltze, Huber & Anders 2025, doi:10.1038/s41592-025-02772-6; a target not "
        "measured in this context is carried over by mean_delta, an unknown one adds the mean"
    ),
    config=ShrinkageConfig,
    model=Additive,
    baseline=True,
    needs=frozenset({"combinations"}),
    predicts=frozenset({"combinations", "contexts"}),
)
