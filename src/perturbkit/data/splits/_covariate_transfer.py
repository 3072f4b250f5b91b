"""Hold perturbations out of each context, with limits on how many and on what stays."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.core.errors import unknown_name
from perturbkit.data.splits._unseen_pair import Pair, leaks
from perturbkit.data.splits.card import SplitCard, SplitConfig
from perturbkit.data.splits.draw import check_fold, distinct, n_of, require, targets_of


def covariate_transfer(
    conditions: Sequence[Condition], config: SplitConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return folds where each held-out perturbation is trained in `min_train_covariates` contexts.

    Of each context at most `max_heldout_fraction` of its perturbations are tested, all doses and
    times of a perturbation together. A cross-validation tests each pair that the first limit
    leaves in exactly one fold, so that there the second does not count.
    """
    pairs_c = [(targets_of(c), c.context) for c in conditions]
    pairs = distinct(pairs_c)
    contexts = distinct(context for _, context in pairs)
    for name in config.contexts:
        if name not in contexts:
            raise unknown_name("context", name, contexts)
    left = Counter(targets for targets, _ in pairs)
    least = config.min_train_covariates
    able = {t for t, n in left.items() if n - -(-n // (config.folds or n)) >= least}
    require(len(able), 2, f"perturbation(s) that can be held out and stay in {least} context(s)",
            "covariate_transfer", "lower min_train_covariates, or use another split")  # fmt: skip
    wanted = set(config.contexts or contexts)
    candidates = [p for p in pairs if p[0] in able and p[1] in wanted]
    check_fold(config, len(candidates), "pairs of perturbation and context")
    if config.folds is None:
        test = _within_limits(pairs, candidates, left, config, rng)
    else:
        test = _one_fold(candidates, config, rng)
    left -= Counter(targets for targets, _ in test)
    rest = [p for p in candidates if p not in test]
    n_val = n_of(config.val, len(rest)) if config.val > 0 and len(rest) > 1 else 0
    val = _take(rest, left, least, n_val, rng)
    return np.array(["test" if p in test else "val" if p in val else "train" for p in pairs_c])


def _within_limits(
    pairs: list[Pair], candidates: list[Pair], left: Counter[frozenset[str]], config: SplitConfig,
    rng: np.random.Generator,
) -> set[Pair]:  # fmt: skip
    """Take up to the allowed share of each context, the contexts in random order."""
    size, by_context = Counter(context for _, context in pairs), defaultdict(list)
    for pair in candidates:
        by_context[pair[1]].append(pair)
    left, test = Counter(left), set()
    contexts = distinct(by_context)
    for i in rng.permutation(len(contexts)):
        here = by_context[contexts[i]]
        n = int(config.max_heldout_fraction * size[contexts[i]] + 1e-9)
        taken = _take(here, left, config.min_train_covariates, n, rng)
        left -= Counter(targets for targets, _ in taken)
        test |= taken
    return test


def _one_fold(candidates: list[Pair], config: SplitConfig, rng: np.random.Generator) -> set[Pair]:
    # a perturbation's pairs go to consecutive folds, which spreads them evenly
    perturbations = distinct(targets for targets, _ in candidates)
    rank = dict(zip(perturbations, rng.permutation(len(perturbations)), strict=True))
    by_rank = sorted(candidates, key=lambda p: rank[p[0]])
    assert config.folds is not None
    return {p for i, p in enumerate(by_rank) if i % config.folds == config.fold}


def _take(
    pairs: list[Pair], left: Counter[frozenset[str]], least: int, n: int, rng: np.random.Generator
) -> set[Pair]:
    """Take up to `n` pairs at random, and leave each perturbation in `least` contexts."""
    left, taken = Counter(left), set()
    for i in rng.permutation(len(pairs)):
        if len(taken) >= n:
            break
        targets = pairs[i][0]
        if left[targets] > least:
            left[targets] -= 1
            taken.add(pairs[i])
    return taken


card = SplitCard(
    name="covariate_transfer",
    summary="up to 30 % of each context's perturbations held out, seen in enough other contexts",
    source="PerturBench (Wu 2024): covariate transfer; a covariate is a context here",
    fn=covariate_transfer,
    leaks=leaks,
    uses=frozenset({"contexts", "min_train_covariates", "max_heldout_fraction"}),
    takes_fraction=False,
)
