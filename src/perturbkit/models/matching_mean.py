"""The baseline for combinations: the mean of what each target does alone."""

import numpy as np
import polars as pl

from perturbkit.core.responses import Responses
from perturbkit.models.additive import summed_changes
from perturbkit.models.card import ModelCard
from perturbkit.models.shrunken import ShrinkageConfig, ShrunkenEffects


class MatchingMean(ShrunkenEffects):
    """A combination does the mean of what its targets do alone.

    A target that was never seen alone counts with the mean change of the context (`prior`).
    """

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus the mean over the targets' changes."""
        asked = self.effects.frame.ask(conditions)
        total, n_known, n_missing = summed_changes(self.effects, asked, self.shrinkage)
        n_parts = np.maximum(n_known + n_missing, 1)
        return asked.answer(total / n_parts[:, None], asked.status(n_missing == 0, "prior"))


card = ModelCard(
    name="matching_mean",
    summary="mean of the changes of the targets, each as measured alone",
    source=(
        "Systema (Nature Biotechnology 2025): mean of the centroids of a combination's targets; "
        "an unseen target counts with the mean over all perturbations of the context"
    ),
    config=ShrinkageConfig,
    model=MatchingMean,
    baseline=True,
    needs=frozenset({"combinations"}),
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
