"""Splits written for cell-load and STATE, as TOML, read as they are."""

from pathlib import Path
from typing import Any

import polars as pl

from perturbkit.core.condition import CONTROL, conditions_of
from perturbkit.core.config import read_toml
from perturbkit.core.errors import ConfigError, SchemaError, unknown_name
from perturbkit.data.read.conventions import CONTROL_LABEL
from perturbkit.data.splits.card import Split
from perturbkit.data.splits.draw import identity

SECTIONS = ("datasets", "training", "zeroshot", "fewshot")
HELD = ("val", "test")


def read_cell_load(path: str | Path, conditions: pl.DataFrame, dataset: str | None = None) -> Split:
    """Read the folds of a table's conditions from a cell-load TOML file.

    `[zeroshot]` holds out whole contexts (`"data.H1" = "test"`), `[fewshot."data.H1"]` lists of
    perturbations of one (`test = ["A", "B"]`); everything else is trained on, controls always.

    Args:
        path: the TOML file.
        conditions: a table with the columns of CONDITION_SCHEMA.
        dataset: which of the file's data sets the table is, where it names several.

    Raises:
        FileError: missing or not text.
        ConfigError: not TOML, sections or folds of other names, several data sets and none chosen.
        SchemaError: nothing is held out, or nothing trained on.
        UnknownNameError: a context or perturbation that the table does not have.
    """
    settings = read_toml(path)
    for name in settings:
        if name not in SECTIONS:
            raise ConfigError(f"{path}: {unknown_name('section', name, SECTIONS)}")
    wanted = _dataset(settings, dataset, str(path))
    parsed = conditions_of(conditions)
    contexts = {identity(c.context): c.context for c in parsed}
    fold_of = {c.key: "train" for c in parsed}
    for entry, fold in settings.get("zeroshot", {}).items():
        context = _context(entry, wanted, contexts, str(path))
        if fold not in HELD:
            raise ConfigError(f"{path}: {unknown_name('fold', str(fold), HELD)}")
        for c in parsed:
            if context is not None and c.context == context and not c.is_control:
                fold_of[c.key] = fold
    for entry, folds in settings.get("fewshot", {}).items():
        context = _context(entry, wanted, contexts, str(path))
        if context is not None:
            _few(folds, context, fold_of, str(path))
    counts = [sum(f == name for f in fold_of.values()) for name in ("train", "test")]
    if not all(counts):
        message = (
            f"{path} trains on {counts[0]} and tests {counts[1]} of these conditions; both need "
            "some: check the names of its contexts and perturbations"
        )
        raise SchemaError(message)
    return Split(tuple(fold_of), tuple(fold_of.values()))


def _dataset(settings: dict[str, Any], dataset: str | None, path: str) -> str:
    known = list(settings.get("datasets", settings.get("training", {})))
    if dataset is None and len(known) == 1:
        return known[0]
    if dataset is None:
        message = f"{path} names {len(known)} data sets ({', '.join(known) or 'none'}); name one"
        raise ConfigError(message)
    if dataset not in known:
        raise unknown_name("data set", dataset, known)
    return dataset


def _context(entry: str, dataset: str, contexts: dict[str, str], path: str) -> str | None:
    """Return the context of `data.H1`; None where it is of another data set."""
    name, _, context = entry.partition(".")
    if name != dataset:
        return None
    if identity(context) not in contexts:
        raise ConfigError(f"{path}: {unknown_name('context', context, contexts.values())}")
    return contexts[identity(context)]


def _few(folds: Any, context: str, fold_of: dict[str, str], path: str) -> None:
    """Move the perturbations listed for one context to their folds."""
    names = {}
    for key in fold_of:
        notation, _, where = key.partition(" | ")
        if where == context:
            names.setdefault(identity(notation.split("@")[0]), []).append(key)
    for fold, listed in folds.items():
        if fold not in HELD:
            raise ConfigError(f"{path}: {unknown_name('fold', str(fold), HELD)}")
        for label in listed:
            if CONTROL_LABEL.match(label) or label == CONTROL:
                continue  # controls are always trained on
            if identity(label) not in names:
                raise unknown_name(f"perturbation of {context}", label, names)
            for key in names[identity(label)]:
                fold_of[key] = fold
