"""What was done to each row of an h5ad file, read without its matrix."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import (
    CONDITION_SCHEMA,
    CONTROL,
    Condition,
    Kind,
    condition_table,
)
from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError, unknown_name
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.read.conventions import Convention, convention, translated
from perturbkit.data.read.h5ad import FAULTS, damaged


class LabelOptions(Config):
    """How to read the labels of an h5ad file; each names a column of `obs`, or a label."""

    perturbation: str = "perturbation"
    """column with the notation of each row's perturbation"""
    context: str | None = None
    """column with the context; by default `context` where there is one, else one context"""
    batch: str | None = None
    """column with the batch; by default `batch` where there is one, else one batch"""
    dose_um: str | None = None
    """column with the dose in micromolar"""
    time_h: str | None = None
    """column with the time in hours"""
    control: str | None = None
    """the label of the controls, if it is not `control`"""
    kind: Kind | None = None
    """how the cells were perturbed, the same for all"""
    convention: str | None = None
    """whose columns and labels: gears, cell_load, scperturb, tahoe, ... (`perturbkit check`)"""


@dataclass(frozen=True, eq=False)
class Labels:
    """Condition and batch of each row, as codes."""

    conditions: list[Condition]
    """the distinct conditions"""
    condition_n: np.ndarray
    """position of each row's condition, int32"""
    batches: list[str]
    """the distinct batches"""
    batch_n: np.ndarray
    """position of each row's batch, int32"""

    @property
    def table(self) -> pl.DataFrame:
        """The table of conditions."""
        return condition_table(self.conditions)


def read_column(file: h5py.File, name: str, where: str) -> Any:
    """Return one column of `obs`, as anndata reads it.

    Raises:
        SchemaError: there is no such column.
        FileError: it is damaged.
    """
    from anndata.io import read_elem

    obs: Any = file["obs"]
    if name not in obs:
        index = obs.attrs.get("_index", "_index")
        names = [n for n in obs if n not in (index, "__categories")]
        message = f"{where}: {unknown_name('column of obs', name, names)}"
        raise SchemaError(message)
    try:
        return read_elem(obs[name])
    except FAULTS as error:
        raise damaged(Path(where), error) from error


def read_labels(file: h5py.File, options: LabelOptions, where: str) -> Labels:
    """Read the condition and batch of each row.

    Args:
        file: the open h5ad file.
        options: the names of the columns.
        where: the file's path, for errors.

    Raises:
        SchemaError: a column or the control label is missing, or rows have no label.
    """
    if options.convention is not None:
        return _foreign_labels(file, convention(options.convention), options, where)
    names = {"perturbation": options.perturbation}
    for name in ("context", "batch", "dose_um", "time_h", "kind"):
        stated = getattr(options, name) if name != "kind" else None
        if stated or name in file["obs"]:
            names[name] = stated or name
    columns = {name: _coded(read_column(file, column, where)) for name, column in names.items()}
    code_n, label_n = columns["perturbation"]
    _require_labels(code_n, where)
    if options.control is not None and options.control not in label_n:
        raise SchemaError(f"{where}: {unknown_name('control label', options.control, label_n)}")
    batch_n, batches = columns.pop("batch", (np.zeros(code_n.size, np.int64), ["0"]))
    conditions, condition_n = _conditions(columns, options)
    return Labels(conditions, condition_n, batches, batch_n.astype(np.int32))


def _foreign_labels(file: h5py.File, rule: Convention, options: LabelOptions, where: str) -> Labels:
    """Read the labels of another tool; each distinct row is read once."""
    from anndata.io import read_elem

    obs: Any = file["obs"]
    names = [n for n in rule.reads if n in obs]
    if rule.perturbation not in names:
        read_column(file, rule.perturbation, where)  # says which columns there are
    columns = {name: _coded(read_column(file, name, where)) for name in names}
    _require_labels(columns[rule.perturbation][0], where)
    rows, inverse = _distinct_rows(columns)
    readouts: Any = read_readouts(file, where) if rule.joins else ()
    uns = {k: read_elem(file["uns"][k]) for k in ("genetic_perturbations",) if k in
           file.get("uns", {})}  # fmt: skip
    table = translated(pd.DataFrame(rows), rule, options.control, readouts, uns)
    ours = [c for c in (*CONDITION_SCHEMA, "batch") if c in table.columns]
    found = [{k: None if pd.isna(v) else str(v) for k, v in row.items()}
             for row in table[ours].to_dict("records")]  # fmt: skip
    batch_n, batches = _coded(np.array([row.pop("batch", None) or "0" for row in found], object))
    plain = LabelOptions(kind=options.kind)
    conditions, condition_n = _joined([_condition(row, plain) for row in found])
    return Labels(conditions, condition_n[inverse], batches, batch_n.astype(np.int32)[inverse])


def _require_labels(code_n: np.ndarray, where: str) -> None:
    if (code_n < 0).any():
        message = (
            f"{where}: {int((code_n < 0).sum()):,} rows have no perturbation label; label them, "
            f"or call them {CONTROL!r} if nothing was perturbed"
        )
        raise SchemaError(message)


def _coded(column: Any) -> tuple[np.ndarray, list[str]]:
    """Return the code of each row (-1: missing) and the text each code stands for."""
    if isinstance(column, pd.Categorical):
        return np.asarray(column.codes, np.int64), [str(c) for c in column.categories]
    codes, values = pd.factorize(np.asarray(column, dtype=object), use_na_sentinel=True)
    return codes.astype(np.int64), [str(v) for v in values]


def _conditions(
    columns: dict[str, tuple[np.ndarray, list[str]]], options: LabelOptions
) -> tuple[list[Condition], np.ndarray]:
    """Return the distinct conditions and each row's, by parsing each distinct row once."""
    rows, inverse = _distinct_rows(columns)
    conditions, place = _joined([_condition(row, options) for row in rows])
    return conditions, place[inverse]


def _distinct_rows(
    columns: dict[str, tuple[np.ndarray, list[str]]],
) -> tuple[list[dict[str, str | None]], np.ndarray]:
    """Return the distinct rows of coded columns, and which of them each row is."""
    inverse = np.zeros(next(iter(columns.values()))[0].size, np.int64)
    first = inverse
    for codes, values in columns.values():
        # numbered anew with each column, so that the product stays small
        mixed = inverse * (len(values) + 1) + codes + 1
        _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    rows = [
        {name: values[codes[i]] if codes[i] >= 0 else None
         for name, (codes, values) in columns.items()}
        for i in first
    ]  # fmt: skip
    return rows, inverse


def _joined(parsed: list[Condition]) -> tuple[list[Condition], np.ndarray]:
    """Return the distinct conditions, and which of them each is."""
    keys: dict[str, int] = {}
    conditions: list[Condition] = []
    for condition in parsed:
        if condition.key not in keys:
            keys[condition.key] = len(conditions)
            conditions.append(condition)
        elif conditions[keys[condition.key]].kind != condition.kind:
            _merge_kinds(conditions, keys[condition.key], condition)
    return conditions, np.array([keys[c.key] for c in parsed], np.int32)


def _merge_kinds(conditions: list[Condition], at: int, other: Condition) -> None:
    """Controls of one context are one condition whatever they accompany; others are refused."""
    if not other.is_control:
        message = (
            f"{other.key!r} comes in more than one kind; add the kind to the context, "
            "for example 'K562 CRISPRi', so that the two are told apart"
        )
        raise SchemaError(message)
    conditions[at] = replace(conditions[at], kind="unknown")


def _condition(row: dict[str, str | None], options: LabelOptions) -> Condition:
    label = str(row["perturbation"])
    label = CONTROL if label == options.control else label
    kind = options.kind or row.get("kind") or "unknown"
    context = row.get("context") or "default"
    condition = Condition.parse(label, context=context, kind=kind)
    if condition.is_control:
        return condition.control()
    stated = {n: v for n in ("dose_um", "time_h") if (v := row.get(n)) not in (None, "nan")}
    try:
        return replace(condition, **{n: float(v) for n, v in stated.items()})
    except ValueError as error:
        message = f"{label!r} has {stated}; doses (micromolar) and times (hours) are numbers"
        raise SchemaError(message) from error


def read_readouts(file: h5py.File, where: str) -> Vocabulary:
    """Return the names of the columns of the matrix.

    Raises:
        SchemaError: names repeat.
        FileError: they are damaged.
    """
    from anndata.io import read_elem

    var: Any = file["var"]
    try:
        names = read_elem(var[var.attrs.get("_index", "_index")])
    except FAULTS as error:
        raise damaged(Path(where), error) from error
    return Vocabulary([str(n) for n in names], "readout")


def read_stamp(file: h5py.File) -> dict[str, Literal["counts"] | str]:
    """Return what a written Screen says of itself; empty for other files."""
    from anndata.io import read_elem

    stamp: Any = file["uns"].get("perturbkit") if "uns" in file else None
    found = read_elem(stamp) if stamp is not None else {}
    return {k: str(v) for k, v in found.items()} if isinstance(found, dict) else {}
