"""Hold out whole contexts; of these only the controls are trained on."""

from collections.abc import Sequence

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.core.errors import SchemaError, unknown_name
from perturbkit.data.splits.card import SplitCard, SplitConfig
from perturbkit.data.splits.draw import check_fold, distinct, draw, n_of, require, targets_of


def unseen_context(
    conditions: Sequence[Condition], config: SplitConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return folds where nothing but the controls of a tested context is trained on.

    The validation set is of pairs in the contexts that are left, as these are mostly too few to
    spare a whole one.
    """
    contexts = distinct(c.context for c in conditions)
    require(len(contexts), 2, "context(s) with perturbations", "unseen_context",
            "with one context use unseen_perturbation")  # fmt: skip
    test = _test_contexts(contexts, config, rng)
    context_c = np.array([c.context for c in conditions])
    folds = np.where(np.isin(context_c, sorted(test)), "test", "train")
    pairs = [(targets_of(c), c.context) for c in conditions]
    rest = distinct(p for p in pairs if p[1] not in test)
    if config.val > 0 and len(rest) > 1:
        chosen = rng.permutation(len(rest))[: n_of(config.val, len(rest))]
        val = {rest[i] for i in chosen}
        folds[[p in val for p in pairs]] = "val"
    return folds


def _test_contexts(contexts: list[str], config: SplitConfig, rng: np.random.Generator) -> set[str]:
    if not config.contexts:
        check_fold(config, len(contexts), "contexts")
        drawn = draw(contexts, config.replace(val=0.0), rng)
        return {c for c, fold in drawn.items() if fold == "test"}
    for name in config.contexts:
        if name not in contexts:
            raise unknown_name("context", name, contexts)
    if config.folds is not None:
        message = "contexts and folds are both given; a cross-validation takes every context"
        raise SchemaError(f"{message}: drop one of the two")
    if set(config.contexts) == set(contexts):
        message = (
            f"all {len(contexts)} contexts are held out, and nothing is left to train on; "
            "leave at least one"
        )
        raise SchemaError(message)
    return set(config.contexts)


def leaks(conditions: Sequence[Condition], folds: np.ndarray) -> str:
    """Say which tested context has perturbations in training or validation."""
    tested = {c.context for c, fold in zip(conditions, folds, strict=True) if fold == "test"}
    for condition, fold in zip(conditions, folds, strict=True):
        if condition.context in tested and fold in ("train", "val"):
            return f"{condition.key!r} is in {fold}, and its context is tested"
    return ""


card = SplitCard(
    name="unseen_context",
    summary="whole contexts held out; of these only the controls are trained on",
    source="the zero-shot task of STATE (Adduri 2025); controls describe the context",
    fn=unseen_context,
    leaks=leaks,
    uses=frozenset({"contexts"}),
)
