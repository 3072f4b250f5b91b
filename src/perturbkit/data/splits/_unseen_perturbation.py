"""Hold out targets in every context, dose and combination."""

from collections.abc import Sequence

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.data.splits.card import SplitCard, SplitConfig
from perturbkit.data.splits.draw import check_fold, distinct, draw, needed, require, targets_of


def unseen_perturbation(
    conditions: Sequence[Condition], config: SplitConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return folds where each tested condition has a target that no training condition has.

    Targets are drawn, not conditions: a combination goes where its most held-out target goes.
    """
    targets_c = [targets_of(c) for c in conditions]
    targets = distinct(t for c in targets_c for t in sorted(c))
    require(len(targets), needed(config), "distinct target(s)", "unseen_perturbation",
            "use a screen of more perturbations, or val = 0")  # fmt: skip
    check_fold(config, len(targets), "targets")
    fold_of = draw(targets, config, rng)
    rank = {"train": 0, "val": 1, "test": 2}
    return np.array([max((fold_of[t] for t in c), key=rank.__getitem__) for c in targets_c])


def leaks(conditions: Sequence[Condition], folds: np.ndarray) -> str:
    """Say which tested condition has only targets that were trained on or validated."""
    targets_c = [targets_of(c) for c in conditions]
    folds_of: dict[str, set[str]] = {}
    for targets, fold in zip(targets_c, folds, strict=True):
        for target in targets:
            folds_of.setdefault(target, set()).add(str(fold))
    for condition, targets, fold in zip(conditions, targets_c, folds, strict=True):
        known = {"test": {"train", "val"}, "val": {"train"}}.get(str(fold))
        if known and all(folds_of[t] & known for t in targets):
            where = "trained on or validated" if fold == "test" else "trained on"
            return f"{condition.key!r} is in {fold}, and each of its targets is {where} elsewhere"
    return ""


card = SplitCard(
    name="unseen_perturbation",
    summary="targets held out everywhere: in all contexts, doses and combinations",
    source="the 'simulation' split of GEARS (Roohani 2023), by target",
    fn=unseen_perturbation,
    leaks=leaks,
)
