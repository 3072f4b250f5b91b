"""Hold out pairs of perturbation and context; the perturbation is trained in another context."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.core.errors import unknown_name
from perturbkit.data.splits.card import SplitCard, SplitConfig
from perturbkit.data.splits.draw import check_fold, distinct, n_of, require, targets_of

Pair = tuple[frozenset[str], str]


def unseen_pair(
    conditions: Sequence[Condition], config: SplitConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return folds where each tested perturbation is trained in at least one other context.

    All doses and times of a perturbation in a context are held out together.
    """
    pairs = [(targets_of(c), c.context) for c in conditions]
    contexts_of: dict[frozenset[str], list[str]] = defaultdict(list)
    for targets, context in distinct(pairs):
        contexts_of[targets].append(context)
    wanted = _wanted(config, distinct(c.context for c in conditions))
    can_be_held = [p for p in distinct(pairs) if p[1] in wanted and len(contexts_of[p[0]]) > 1]
    several = sum(len(v) > 1 for v in contexts_of.values())
    require(several, 2, "perturbation(s) measured in more than one context", "unseen_pair",
            "with one context use unseen_perturbation")  # fmt: skip
    check_fold(config, len(can_be_held), "pairs of perturbation and context")
    left = {targets: len(contexts) for targets, contexts in contexts_of.items()}
    test = _test_pairs(can_be_held, left, config, rng)
    for targets, _ in test:
        left[targets] -= 1
    rest = [p for p in can_be_held if p not in test]
    n_val = n_of(config.val, len(rest)) if config.val > 0 and len(rest) > 1 else 0
    val = _take(rest, left, n_val, rng)
    return np.array(["test" if p in test else "val" if p in val else "train" for p in pairs])


def _wanted(config: SplitConfig, contexts: list[str]) -> set[str]:
    for name in config.contexts:
        if name not in contexts:
            raise unknown_name("context", name, contexts)
    return set(config.contexts or contexts)


def _test_pairs(
    pairs: list[Pair], left: dict[frozenset[str], int], config: SplitConfig,
    rng: np.random.Generator,
) -> set[Pair]:  # fmt: skip
    if config.folds is None:
        return _take(pairs, dict(left), n_of(config.fraction, len(pairs)), rng)
    # a perturbation's pairs go to consecutive folds, so that no fold can hold all of them
    perturbations = distinct(p[0] for p in pairs)
    rank = dict(zip(perturbations, rng.permutation(len(perturbations)), strict=True))
    by_rank = sorted(pairs, key=lambda p: rank[p[0]])
    return {p for i, p in enumerate(by_rank) if i % config.folds == config.fold}


def _take(
    pairs: list[Pair], left: dict[frozenset[str], int], n: int, rng: np.random.Generator
) -> set[Pair]:
    """Take up to `n` pairs at random, never the last context in which a perturbation is left."""
    left, taken = dict(left), set()
    for i in rng.permutation(len(pairs)):
        if len(taken) == n:
            break
        targets = pairs[i][0]
        if left[targets] > 1:
            left[targets] -= 1
            taken.add(pairs[i])
    return taken


def leaks(conditions: Sequence[Condition], folds: np.ndarray) -> str:
    """Say which tested pair is trained on, or which tested perturbation is trained nowhere."""
    pairs = [(targets_of(c), c.context) for c in conditions]
    known = {p for p, fold in zip(pairs, folds, strict=True) if fold in ("train", "val")}
    trained = {p[0] for p, fold in zip(pairs, folds, strict=True) if fold == "train"}
    for condition, pair, fold in zip(conditions, pairs, folds, strict=True):
        if fold == "test" and pair in known:
            return f"{condition.key!r} is tested, and the same pair is trained on or validated"
        if fold == "test" and pair[0] not in trained:
            return f"{condition.key!r} is tested, and trained in no other context"
    return ""


card = SplitCard(
    name="unseen_pair",
    summary="a perturbation seen in other contexts, held out in this one",
    source="the task of LPM (Miladinovic 2024) and of Open Problems 2023",
    fn=unseen_pair,
    leaks=leaks,
    uses=frozenset({"contexts"}),
)
