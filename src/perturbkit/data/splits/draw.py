"""Drawing what is held out: some of a list of units for the test, some of the rest to validate."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.core.errors import ConfigError, SchemaError
from perturbkit.data.splits.card import SplitConfig

U = TypeVar("U", bound=Hashable)


def identity(name: str) -> str:
    """Return what makes two names the same target: case and outer spaces do not count."""
    return name.strip().casefold()


def targets_of(condition: Condition) -> frozenset[str]:
    """Return the identities of a condition's targets, whatever the dose, time or context."""
    return frozenset(identity(t) for t in condition.targets)


def distinct(units: Iterable[U]) -> list[U]:
    """Return the distinct units in an order that depends on nothing but themselves.

    So a split does not depend on the order of the rows it is made from.
    """
    return sorted(set(units), key=_text)


def _text(unit: object) -> list[str]:
    if isinstance(unit, frozenset):
        return sorted(map(str, unit))
    if isinstance(unit, tuple):
        return [text for part in unit for text in ("", *_text(part))]
    return [str(unit)]


def require(n: int, least: int, what: str, kind: str, advice: str) -> None:
    """Refuse to split what is too little.

    Raises:
        SchemaError: `n` is below `least`.
    """
    if n < least:
        message = f"found {n} {what}; {kind} needs at least {least}: {advice}"
        raise SchemaError(message)


def needed(config: SplitConfig) -> int:
    """Return the least number of units that fill train, test and, if asked for, val."""
    return max(config.folds or 2, 2 + (config.val > 0))


def check_fold(config: SplitConfig, n: int, what: str) -> None:
    """Refuse a fold number that does not exist, and more folds than there is to divide.

    Raises:
        ConfigError: `fold` is not below `folds`.
        SchemaError: fewer units than folds.
    """
    if config.folds is None:
        return
    if config.fold >= config.folds:
        message = f"fold is {config.fold}; {config.folds} folds are numbered from 0: choose one"
        raise ConfigError(message)
    if n < config.folds:
        message = f"found {n} {what} for {config.folds} folds; ask for at most {n} folds"
        raise SchemaError(message)


def n_of(share: float, n: int) -> int:
    """Return how many of `n` a share is: at least one, never all."""
    return int(min(max(1, round(share * n)), n - 1))


def draw(units: Sequence[U], config: SplitConfig, rng: np.random.Generator) -> dict[U, str]:
    """Return the fold of each unit; equal numbers of units give equal folds for one rng.

    With `folds`, the units are cut into that many parts by one permutation, so that the parts of
    the same rng are disjoint and cover everything.
    """
    n = len(units)
    order = rng.permutation(n)
    if config.folds is None:
        test = order[: n_of(config.fraction, n)]
    else:
        test = np.array_split(order, config.folds)[config.fold]
    rest = rng.permutation(np.setdiff1d(order, test))
    val = rest[: n_of(config.val, rest.size)] if config.val > 0 and rest.size > 1 else rest[:0]
    fold_u = np.full(n, "train", dtype=object)
    fold_u[test], fold_u[val] = "test", "val"
    return dict(zip(units, fold_u, strict=True))
