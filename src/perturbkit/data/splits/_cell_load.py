"""Hold out what a TOML file of cell-load and STATE says."""

from collections.abc import Sequence

import numpy as np

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import ConfigError
from perturbkit.data.splits.card import SplitCard, SplitConfig
from perturbkit.data.splits.cell_load import read_cell_load
from perturbkit.data.splits.draw import targets_of


def cell_load(
    conditions: Sequence[Condition], config: SplitConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return the folds of `config.file`; nothing is drawn.

    Raises:
        ConfigError: no file, a cross-validation, or what `read_cell_load` refuses.
    """
    del rng  # nothing is drawn
    if not config.file or config.folds is not None:
        found = "folds is set" if config.file else "split.file is empty"
        message = f"{found}; cell_load takes its folds from a TOML file: set split.file only"
        raise ConfigError(message)
    split = read_cell_load(config.file, condition_table(conditions), config.dataset or None)
    fold_of = dict(zip(split.keys, split.folds, strict=True))
    return np.array([fold_of[c.key] for c in conditions])


def leaks(conditions: Sequence[Condition], folds: np.ndarray) -> str:
    """Say which pair of perturbation and context is in two folds."""
    fold_of: dict[tuple[frozenset[str], str], str] = {}
    for condition, fold in zip(conditions, folds, strict=True):
        pair = (targets_of(condition), condition.context)
        if fold == "dropped":
            continue
        other = fold_of.setdefault(pair, str(fold))
        if other != fold:
            return f"{condition.key!r} is in {fold}, and the same pair is in {other}"
    return ""


card = SplitCard(
    name="cell_load",
    summary="folds from a TOML file of cell-load and STATE: contexts, or lists of perturbations",
    source="cell-load 0.10 (Arc Institute): [zeroshot] and [fewshot]; set split.file",
    fn=cell_load,
    leaks=leaks,
    uses=frozenset({"file", "dataset"}),
    takes_fraction=False,
)
