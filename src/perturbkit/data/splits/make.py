"""Making a split of any kind, and the leakage check that every split passes."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from perturbkit.core.catalog import Catalog
from perturbkit.core.condition import Condition, conditions_of
from perturbkit.core.errors import ConfigError, LeakError, SchemaError, unknown_name
from perturbkit.data.splits.card import OWN_SETTINGS, Split, SplitCard, SplitConfig


def make_from(
    cards: Catalog[SplitCard], table: pl.DataFrame, config: SplitConfig, rng: np.random.Generator
) -> Split:
    """Split the conditions of a table; see `splits.make_split`."""
    card = cards[config.kind]
    _refuse_unused(cards, card, config)
    conditions = conditions_of(table)
    perturbed = [c for c in conditions if not c.is_control]
    folds = card.fn(perturbed, config, rng)
    _require_both(card, folds)
    fold_of = {c.key: str(fold) for c, fold in zip(perturbed, folds, strict=True)}
    keys = list(dict.fromkeys(c.key for c in conditions))
    split = Split(tuple(keys), tuple(fold_of.get(key, "train") for key in keys))
    check_from(card, conditions, split)
    return split


def _refuse_unused(cards: Catalog[SplitCard], card: SplitCard, config: SplitConfig) -> None:
    """Refuse settings that the split does not read, rather than pass over them."""
    defaults = SplitConfig()
    for name in ("fraction", *OWN_SETTINGS):
        readers = [c.name for c in cards.values() if name in c.uses]
        if name == "fraction":
            readers = [c.name for c in cards.values() if c.takes_fraction]
        if card.name not in readers and getattr(config, name) != getattr(defaults, name):
            message = f"{card.name} does not use {name}; drop it, or use {' or '.join(readers)}"
            raise ConfigError(message)


def _require_both(card: SplitCard, folds: np.ndarray) -> None:
    for name in ("train", "test"):
        if not (folds == name).any():
            message = (
                f"{card.name} leaves no perturbed condition in {name} out of {folds.size}; "
                "use more conditions, or another fraction"
            )
            raise SchemaError(message)


def check_from(card: SplitCard, conditions: Sequence[Condition], split: Split) -> None:
    """Refuse a split that leaks; see `splits.check_leakage`."""
    where = dict(zip(split.keys, split.folds, strict=True))
    for condition in conditions:
        if condition.key not in where:
            raise unknown_name("condition of the split", condition.key, where)
        if condition.is_control and where[condition.key] != "train":
            message = (
                f"the control {condition.key!r} is in {where[condition.key]}; controls are what "
                "changes are measured from and belong in train: move it there"
            )
            raise LeakError(message)
    perturbed = [c for c in conditions if not c.is_control]
    fault = card.leaks(perturbed, np.array([where[c.key] for c in perturbed], dtype=object))
    if fault:
        message = (
            f"this {card.name} split leaks: {fault}; move one side to 'dropped', or let "
            "make_split choose the folds"
        )
        raise LeakError(message)
