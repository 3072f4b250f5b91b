"""Which baselines have anything to say about a training set and the conditions held out."""

import polars as pl

from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models import MODELS
from perturbkit.models.applies import why_not
from perturbkit.models.card import ModelCard


def baselines_for(
    train: Responses, asked: pl.DataFrame | None = None, features: Features | None = None
) -> dict[str, ModelCard]:
    """Return the baselines that apply, by name.

    Args:
        train: the training set, controls included.
        asked: the conditions to be predicted; by default those of the training set.
        features: of the targets; without them, the readouts stand for the genes they measure.
    """
    baselines = {name: card for name, card in MODELS.items() if card.baseline}
    faults = {name: why_not(card, train, asked, features) for name, card in baselines.items()}
    return {name: card for name, card in baselines.items() if not faults[name]}
