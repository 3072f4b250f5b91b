"""Why a model has nothing to say about a training set, or that it has."""

import numpy as np
import polars as pl

from perturbkit.core.condition import conditions_of
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard
from perturbkit.models.deltas import Effects


def why_not(
    card: ModelCard,
    train: Responses,
    asked: pl.DataFrame | None = None,
    features: Features | None = None,
) -> str:
    """Return why a model has nothing to say here, or nothing.

    A model that needs several contexts needs a perturbation measured in two of them; one that
    needs combinations needs one to predict; one that needs features needs at least three training
    targets that have some, and one target to predict.
    """
    effects = Effects.of(train)
    conditions = conditions_of(train.conditions if asked is None else asked)
    conditions = [c for c in conditions if not c.is_control]
    if "contexts" in card.needs and np.bincount(effects.perturbation_r).max() < 2:
        return "no perturbation was measured in two contexts"
    if "combinations" in card.needs and all(len(c.targets) < 2 for c in conditions):
        return "there is no combination to predict"
    if "features" in card.needs:
        names = effects.frame.readouts if features is None else features.names
        what = "measured readout" if features is None else "feature vector"
        targets = [t[0] for t in effects.targets_p if len(t) == 1]
        n_known = int((names.find(targets) >= 0).sum())
        if n_known < 3:
            return f"{n_known} of {len(targets)} training targets have a {what}"
        if not any((names.find(c.targets) >= 0).all() for c in conditions):
            return f"no condition to predict has a {what} for all its targets"
    return ""


def why_not_cells(card: ModelCard, unit: str | None) -> str:
    """Return why a model of cells has nothing to learn from here, or nothing.

    Args:
        card: any model's card.
        unit: the unit of the single cells; None where there are none.
    """
    if card.level == "cells" and unit is None:
        return "it learns from single cells and the screen holds profiles"
    if "counts" in card.needs and unit != "counts":
        return f"it needs the counts of single cells and the screen is in {unit}"
    return ""
