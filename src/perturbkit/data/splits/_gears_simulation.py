"""Hold out genes as GEARS' simulation does, and combinations by how many genes are seen."""

from collections.abc import Sequence

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.data.splits.card import SplitCard, SplitConfig
from perturbkit.data.splits.draw import (
    check_fold,
    distinct,
    draw,
    n_of,
    needed,
    require,
    targets_of,
)


def gears_simulation(
    conditions: Sequence[Condition], config: SplitConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return folds where no condition with a held-out gene is trained on.

    A share `train_gene_share` of the genes is trained on. Of the combinations of two such genes
    the same share is; the others are tested (`combo_seen2`). Validation holds out a share `val`
    of the training genes and combinations in the same way.
    """
    targets_c = [targets_of(c) for c in conditions]
    genes = distinct(t for c in targets_c for t in sorted(c))
    require(len(genes), needed(config), "distinct target(s)", "gears_simulation",
            "use a screen of more perturbations, or val = 0")  # fmt: skip
    check_fold(config, len(genes), "targets")
    held = 1 / config.folds if config.folds else 1 - config.train_gene_share
    fold_of = draw(genes, config.replace(fraction=held), rng)
    rank = {"train": 0, "val": 1, "test": 2}
    folds = [max((fold_of[t] for t in c), key=rank.__getitem__) for c in targets_c]
    seen = distinct(
        t for t, fold in zip(targets_c, folds, strict=True) if fold == "train" and len(t) > 1
    )
    drawn = _combinations(seen, held, config.val, rng)
    return np.array([drawn.get(t, fold) for t, fold in zip(targets_c, folds, strict=True)])


def _combinations(
    seen: list[frozenset[str]], held: float, val: float, rng: np.random.Generator
) -> dict[frozenset[str], str]:
    """Return the fold of those combinations of seen genes that are not trained on."""
    if len(seen) < 2:
        return {}
    order = rng.permutation(len(seen))
    n_test = n_of(held, len(seen))
    n_val = n_of(val, len(seen) - n_test) if val > 0 and len(seen) - n_test > 1 else 0
    test, rest = order[:n_test], order[n_test : n_test + n_val]
    return {seen[i]: "test" for i in test} | {seen[i]: "val" for i in rest}


def leaks(conditions: Sequence[Condition], folds: np.ndarray) -> str:
    """Say which held-out single's gene, or which held-out combination, is trained on."""
    targets_c = [targets_of(c) for c in conditions]
    genes_in: dict[str, set[str]] = {"train": set(), "val": set(), "test": set(), "dropped": set()}
    sets_in: dict[str, set[frozenset[str]]] = {name: set() for name in genes_in}
    for targets, fold in zip(targets_c, folds, strict=True):
        genes_in[str(fold)] |= targets
        sets_in[str(fold)].add(targets)
    before = {"test": ("train", "val"), "val": ("train",)}
    for condition, targets, fold in zip(conditions, targets_c, folds, strict=True):
        for known in before.get(str(fold), ()):
            if len(targets) == 1 and targets <= genes_in[known]:
                return f"{condition.key!r} is in {fold}, and its target is also in {known}"
            if targets in sets_in[known]:
                return f"the combination of {condition.key!r} is in {fold} and in {known}"
    return ""


card = SplitCard(
    name="gears_simulation",
    summary="GEARS' simulation: a quarter of the genes, and combinations by how many are seen",
    source="GEARS (Roohani 2023), split 'simulation': combo_seen0/1/2 and unseen_single",
    fn=gears_simulation,
    leaks=leaks,
    uses=frozenset({"train_gene_share"}),
    takes_fraction=False,
)
