"""Hold out combinations of targets; singles are trained on."""

from collections.abc import Sequence

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.data.splits.card import SplitCard, SplitConfig
from perturbkit.data.splits.draw import check_fold, distinct, draw, needed, require, targets_of


def unseen_combination(
    conditions: Sequence[Condition], config: SplitConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return folds where each tested combination is trained in no context and at no dose.

    With `seen_singles` only combinations whose every target is also measured alone are held out.
    """
    targets_c = [targets_of(c) for c in conditions]
    alone = {next(iter(t)) for t in targets_c if len(t) == 1}
    combinations = distinct(
        t for t in targets_c if len(t) > 1 and (t <= alone or not config.seen_singles)
    )
    what = "combination(s)" + (" whose singles are all measured" if config.seen_singles else "")
    advice = "use a screen with more combinations"
    if config.seen_singles:
        advice += ", or seen_singles = false"
    require(len(combinations), needed(config), what, "unseen_combination", advice)
    check_fold(config, len(combinations), "combinations")
    fold_of = draw(combinations, config, rng)
    return np.array([fold_of.get(t, "train") for t in targets_c])


def leaks(conditions: Sequence[Condition], folds: np.ndarray) -> str:
    """Say which tested combination is also trained on or validated, or is not a combination."""
    targets_c = [targets_of(c) for c in conditions]
    folds_of: dict[frozenset[str], set[str]] = {}
    for targets, fold in zip(targets_c, folds, strict=True):
        folds_of.setdefault(targets, set()).add(str(fold))
    for condition, targets, fold in zip(conditions, targets_c, folds, strict=True):
        if fold not in ("test", "val"):
            continue
        if len(targets) < 2:
            return f"{condition.key!r} is in {fold}, and is not a combination"
        if folds_of[targets] - {str(fold), "dropped"}:
            return f"the combination of {condition.key!r} is in {fold} and in another fold"
    return ""


card = SplitCard(
    name="unseen_combination",
    summary="combinations held out everywhere; singles stay in training",
    source="the double-perturbation task of Ahlmann-Eltze 2025 and Norman 2019",
    fn=unseen_combination,
    leaks=leaks,
    uses=frozenset({"seen_singles"}),
)
