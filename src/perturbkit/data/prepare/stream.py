"""The one pass over the cells, saved from time to time so that a stopped run goes on."""

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.errors import FileError
from perturbkit.core.files import atomic_path
from perturbkit.core.rng import named_rng
from perturbkit.data.prepare.cells import CellCounts, cell_totals, keep_cells, mad_span
from perturbkit.data.prepare.settings import SECOND_PASS, PrepareConfig
from perturbkit.data.prepare.sources import Plan, Sources
from perturbkit.data.profiles import half_of_cells
from perturbkit.data.read.rows import H5Matrix, Rows
from perturbkit.data.stats import GroupStats, add_rows, cell_scales

Watch = Callable[[str, int, int], None]
"""Called with what is being done, how many cells are done, and of how many."""
STATE = "state.npz"


def stream_cells(
    sources: Sources, config: PrepareConfig, size: Plan, folder: Path, watch: Watch
) -> tuple[GroupStats, CellCounts]:
    """Read every cell once and return the statistics of the groups.

    Deterministic: chunks, their order and the order of sums depend on nothing but the files and
    the settings, so a run that was stopped and goes on gives the same bits.

    Args:
        sources: the files.
        config: what is kept.
        size: the plan, which says how much is read at a time.
        folder: where the state is saved and looked for.
        watch: told of progress.
    """
    print_ = fingerprint(sources, config, size)
    stats = GroupStats.empty(sources.condition_k.size, len(sources.readouts))
    counts = CellCounts()
    at = _load(folder / STATE, print_, stats, counts)
    halves = _halves(sources, config)
    saved = time.monotonic()
    for part in kept_rows(sources, config, size, watch, counts=counts, start=at):
        rows, number = part.rows, part.number
        add_rows(stats, rows.data, rows.indices, rows.indptr, part.columns_g, part.group_n,
                 halves[number][rows.start : rows.stop], part.scale_n)  # fmt: skip
        if time.monotonic() - saved >= config.checkpoint_s:
            _save(folder / STATE, print_, (number, rows.stop), stats, counts)
            saved = time.monotonic()
        watch("cells", counts.read, size.n_cells)
    if config.de in SECOND_PASS:  # what follows takes as long again
        _save(folder / STATE, print_, (len(sources.files), 0), stats, counts)
    return stats, counts


def stream_sums(sources: Sources, config: PrepareConfig, size: Plan, watch: Watch) -> GroupStats:
    """Read the kept cells once more and return the statistics of their raw values."""
    sums = GroupStats.empty(sources.condition_k.size, len(sources.readouts))
    for part in kept_rows(sources, config, size, watch, what="sums"):
        rows = part.rows
        add_rows(sums, rows.data, rows.indices, rows.indptr, part.columns_g, part.group_n,
                 np.ones(rows.n, np.int8), None)  # fmt: skip
    return sums


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Some rows of one file, and which of them are kept."""

    number: int
    """position of the file"""
    rows: Rows
    columns_g: np.ndarray
    """readout of each column"""
    group_n: np.ndarray
    """group of each row; -1 where it is left out"""
    scale_n: np.ndarray | None
    """what counts are multiplied by before the logarithm; None in other units"""


def kept_rows(
    sources: Sources, config: PrepareConfig, size: Plan, watch: Watch, *,
    counts: CellCounts | None = None, start: tuple[int, int] = (0, 0), what: str = "",
) -> Iterator[KeptRows]:  # fmt: skip
    """Yield all rows, a chunk at a time.

    Args:
        sources: the files.
        config: what is kept.
        size: the plan.
        watch: told of progress.
        counts: what the cells are counted in.
        start: file and row to start at.
        what: what the progress is of; by default nothing is told.
    """
    counts = CellCounts() if counts is None else counts
    span = _mad_pass(sources, config, size, watch) if config.mads is not None else None
    mito_g = _mito(sources, config)
    for number, source in enumerate(sources.files):
        first = start[1] if number == start[0] else 0
        if number < start[0] or first == source.shape[0]:
            continue
        with H5Matrix(source.path, config.layer) as matrix:
            for rows in matrix.chunks(size.values_at_a_time, first):
                totals = cell_totals(rows, mito_g[source.columns_g], sources.unit)
                here = slice(rows.start, rows.stop)
                kept = keep_cells(totals, source.where_n[here], config, span, counts)
                group_n = np.where(kept, source.group_n[here], -1).astype(np.int64)
                scale_n = cell_scales(totals.total_n) if sources.unit == "counts" else None
                yield KeptRows(number, rows, source.columns_g, group_n, scale_n)
                if what:
                    watch(what, counts.read, size.n_cells)


def fingerprint(sources: Sources, config: PrepareConfig, size: Plan) -> str:
    """Return what a saved state must agree on: settings, and name, size and time of each file."""
    about: list[Any] = [config.replace(checkpoint_s=0.0, max_memory_mb=64).plain()]
    about.append(size.values_at_a_time)
    for source in sources.files:
        stat = source.path.stat()
        about.append([str(source.path.resolve()), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _halves(sources: Sources, config: PrepareConfig) -> list[np.ndarray]:
    """Return the half of each row of each file, drawn for all files together."""
    group_n = np.concatenate([s.group_n for s in sources.files])
    rng = named_rng(config.seed, "halves")
    half_n = half_of_cells(sources.condition_k[group_n], sources.batch_k[group_n], rng)
    edges = np.cumsum([s.shape[0] for s in sources.files])[:-1]
    return np.split(half_n.astype(np.int8), edges)


def _mito(sources: Sources, config: PrepareConfig) -> np.ndarray:
    prefix = config.mito_prefix.casefold()
    wanted = config.max_mito < 1 and bool(prefix)
    return np.array([wanted and n.casefold().startswith(prefix) for n in sources.readouts])


def _mad_pass(
    sources: Sources, config: PrepareConfig, size: Plan, watch: Watch
) -> tuple[float, float]:
    """Read all totals once, for the cells that the other thresholds keep."""
    mito_g, kept_totals, counts = _mito(sources, config), [], CellCounts()
    for source in sources.files:
        with H5Matrix(source.path, config.layer) as matrix:
            for rows in matrix.chunks(size.values_at_a_time):
                totals = cell_totals(rows, mito_g[source.columns_g], sources.unit)
                where_n = source.where_n[rows.start : rows.stop]
                kept = keep_cells(totals, where_n, config, None, counts)
                kept_totals.append(totals.total_n[kept])
                watch("totals", counts.read, size.n_cells)
    total_n = np.concatenate(kept_totals)
    return mad_span(total_n, config.mads or np.inf) if total_n.size else (0.0, np.inf)


def _save(
    path: Path, print_: str, at: tuple[int, int], stats: GroupStats, counts: CellCounts
) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file, print=np.array(print_), at=np.array(at), n_ks=stats.n_ks,
            moments_kgs=stats.moments_kgs, left_out=counts.left_out,
            cells=np.array([counts.read, counts.kept]),
        )  # fmt: skip


def _load(path: Path, print_: str, stats: GroupStats, counts: CellCounts) -> tuple[int, int]:
    """Fill the statistics from a saved state of the same run; return where it stopped."""
    if not path.exists():
        return (0, 0)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as state:
            if str(state["print"]) != print_:
                return (0, 0)
            stats.n_ks[:] = state["n_ks"]
            stats.moments_kgs[:] = state["moments_kgs"]
            counts.left_out[:] = state["left_out"]
            counts.read, counts.kept = (int(n) for n in state["cells"])
            number, row = (int(n) for n in state["at"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        message = f"{path} is damaged ({error}); remove it and start again"
        raise FileError(message) from error
    return number, row
