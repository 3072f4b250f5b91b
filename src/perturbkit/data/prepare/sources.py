"""The files of a screen as one: conditions, batches, readouts, and the plan to read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.condition import Condition
from perturbkit.core.errors import ConfigError, SchemaError, UnitError
from perturbkit.core.units import UNITS
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.prepare.settings import SECOND_PASS, PrepareConfig, keep_where, parse_where
from perturbkit.data.read.h5ad import looks_like
from perturbkit.data.read.labels import Labels, read_column, read_labels, read_readouts, read_stamp
from perturbkit.data.read.rows import H5Matrix

BYTES_PER_GROUP_AND_READOUT = 32
BYTES_PER_READOUT = 12_000
"""Of the profiles and tests that are being written, some at a time."""
BYTES_BEFORE = 330_000_000
"""The interpreter and its libraries."""
CHUNKS = 6
"""Chunks in memory: the one read ahead, the one at work, and what the kernels make of it."""
AT_A_TIME = 2_500_000
"""Stored values that are read together, where memory allows."""


@dataclass(frozen=True, eq=False)
class Source:
    """One file: which group each of its rows is in, and which readout each of its columns is."""

    path: Path
    group_n: np.ndarray
    """group of each row, int32"""
    where_n: np.ndarray
    """whether the `where` conditions let the row in"""
    columns_g: np.ndarray
    """readout of each column, int32"""
    shape: tuple[int, int]
    nnz: int
    itemsize: int
    """bytes of a stored value and its column"""


@dataclass(frozen=True, eq=False)
class Sources:
    """Several files read as one screen."""

    files: list[Source]
    conditions: list[Condition]
    batches: list[str]
    condition_k: np.ndarray
    """condition of each group; a group is a condition in a batch"""
    batch_k: np.ndarray
    """batch of each group"""
    readouts: Vocabulary
    unit: str


def open_sources(paths: Sequence[Path], config: PrepareConfig) -> Sources:
    """Read what is small in each file: labels, names, unit.

    Raises:
        FileError: not whole h5ad files by rows.
        SchemaError: columns, labels or readouts missing; no control.
        UnitError: no unit stated, or the files differ.
    """
    conditions: dict[str, int] = {}
    kinds: list[Condition] = []
    batches: dict[str, int] = {}
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    files: list[dict[str, Any]] = []
    readouts, unit = None, None
    for path in paths:
        with H5Matrix(path, config.layer) as matrix:
            labels = read_labels(matrix.file, config, str(path))
            names = read_readouts(matrix.file, str(path))
            readouts = readouts or names
            unit = _unit(matrix, config, unit)
            if labels.condition_n.size != matrix.shape[0] or len(names) != matrix.shape[1]:
                message = (
                    f"{path}: the matrix is {matrix.shape[0]:,} x {matrix.shape[1]:,}, and obs "
                    f"and var have {labels.condition_n.size:,} and {len(names):,} rows; the file "
                    "contradicts itself: write it again"
                )
                raise SchemaError(message)
            files.append({
                "path": matrix.path, "columns_g": _columns(names, readouts, path),
                "where_n": _where(matrix, config), "shape": matrix.shape, "nnz": matrix.nnz,
                "itemsize": matrix.itemsize,
            })  # fmt: skip
        pairs.append(_joined(labels, conditions, kinds, batches, _prefix(path, paths)))
    mixed = [c.astype(np.int64) * len(batches) + b for c, b in pairs]
    groups = np.unique(np.concatenate(mixed))
    sources = [
        Source(group_n=np.searchsorted(groups, m).astype(np.int32), **f)
        for m, f in zip(mixed, files, strict=True)
    ]
    condition_k, batch_k = np.divmod(groups, len(batches))
    if readouts is None or unit is None:
        message = "no file was given; name at least one h5ad file"
        raise ConfigError(message)
    return Sources(sources, kinds, list(batches), condition_k, batch_k, readouts, unit)


def _prefix(path: Path, paths: Sequence[Path]) -> str:
    # batch 1 of one file is not batch 1 of another
    return f"{path.stem}:" if len(paths) > 1 else ""


def _joined(
    labels: Labels, conditions: dict[str, int], known: list[Condition], batches: dict[str, int],
    prefix: str,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the rows' conditions and batches in the numbering of all files."""
    place = []
    for condition in labels.conditions:
        if condition.key not in conditions:
            conditions[condition.key] = len(known)
            known.append(condition)
        place.append(conditions[condition.key])
    spot = [batches.setdefault(prefix + b, len(batches)) for b in labels.batches]
    return np.array(place)[labels.condition_n], np.array(spot)[labels.batch_n]


def _unit(matrix: H5Matrix, config: PrepareConfig, before: str | None) -> str:
    stored = None if config.layer else read_stamp(matrix.file).get("unit")
    if stored and config.unit and stored != config.unit:
        message = f"{matrix.path} says its unit is {stored}, not {config.unit}; drop the option"
        raise UnitError(message)
    unit = config.unit or stored
    if not unit:
        first = matrix.rows(0, min(1000, matrix.shape[0]))
        message = (
            f"{matrix.path} does not state its unit, which is never guessed; the first cells look "
            f"like {looks_like(first.data)}: state --unit with one of {', '.join(UNITS)}"
        )
        raise UnitError(message)
    if before and before != unit:
        message = f"{matrix.path} is in {unit} and the files before it in {before}; use one unit"
        raise UnitError(message)
    return unit


def _columns(names: Vocabulary, readouts: Vocabulary, path: Path) -> np.ndarray:
    columns = readouts.find(names)
    if (columns < 0).any() or len(names) != len(readouts):
        extra, missing = int((columns < 0).sum()), len(readouts) - int((columns >= 0).sum())
        message = (
            f"{path} has {extra:,} readouts that the first file lacks, and lacks {missing:,} of "
            "its own; files of one screen need the same readouts, in any order"
        )
        raise SchemaError(message)
    return columns.astype(np.int32)


def _where(matrix: H5Matrix, config: PrepareConfig) -> np.ndarray:
    keep = np.ones(matrix.shape[0], bool)
    for condition in config.where:
        column = read_column(matrix.file, parse_where(condition)[0], str(matrix.path))
        keep &= keep_where(condition, column)
    return keep


@dataclass(frozen=True)
class Plan:
    """What a run will read and need, said before it starts."""

    n_cells: int
    n_readouts: int
    n_values: int
    bytes_to_read: int
    n_groups: int
    n_conditions: int
    peak_bytes: int
    values_at_a_time: int
    seconds: float
    """a rough guess, at 30 million values a second and pass"""

    def text(self) -> str:
        """Say it in one line."""
        return (
            f"{self.n_cells:,} cells x {self.n_readouts:,} readouts, {self.n_values:,} stored "
            f"values ({self.bytes_to_read / 1e6:,.0f} MB) -> {self.n_conditions:,} conditions in "
            f"{self.n_groups:,} groups; peak memory about {self.peak_bytes / 1e6:,.0f} MB, "
            f"about {max(self.seconds, 1):,.0f} s"
        )


def plan(sources: Sources, config: PrepareConfig) -> Plan:
    """Plan the memory of a run, and refuse what does not fit.

    Raises:
        ConfigError: `max_memory_mb` is too little; says how much is needed and what else helps.
    """
    n_readouts, n_groups = len(sources.readouts), sources.condition_k.size
    n_conditions = len(sources.conditions)
    n_cells = sum(f.shape[0] for f in sources.files)
    per_readout = n_groups * BYTES_PER_GROUP_AND_READOUT + BYTES_PER_READOUT
    if config.de == "pydeseq2":
        per_readout += n_groups * BYTES_PER_GROUP_AND_READOUT + n_conditions * 32
    fixed = BYTES_BEFORE + n_cells * 40 + n_readouts * per_readout
    itemsize = max(f.itemsize for f in sources.files)
    longest = max(f.nnz // f.shape[0] for f in sources.files)
    spare = config.max_memory_mb * 1_000_000 - fixed
    n_values = sum(f.nnz for f in sources.files)
    values = int(min(AT_A_TIME, max(n_values, 1), spare // (CHUNKS * itemsize)))
    if values < max(longest, 1):
        message = (
            f"max_memory_mb is {config.max_memory_mb:,}, and {n_groups:,} groups x {n_readouts:,} "
            f"readouts need about {fixed / 1e6 + 1:,.0f} MB; allow more memory, name no batch, or "
            "keep fewer readouts in the file"
        )
        raise ConfigError(message)
    n_bytes = sum(f.nnz * f.itemsize for f in sources.files)
    n_passes = (1 + (config.de in SECOND_PASS)) * (1 + (config.mads is not None))
    return Plan(
        n_cells, n_readouts, n_values, n_passes * n_bytes, n_groups, n_conditions,
        fixed + CHUNKS * itemsize * values, values, n_passes * n_values / 3e7,
    )  # fmt: skip
