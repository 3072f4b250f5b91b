"""Rank sums of a screen that does not fit in memory: one more pass, sorted by readout on disk.

Each chunk of cells is written to a scratch file in the order of the readouts, 8 bytes a stored
value; then some readouts at a time are read back from all chunks and ranked.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import polars as pl
from numba import njit

from perturbkit.core.condition import condition_table
from perturbkit.core.files import require_space
from perturbkit.data.de import Tests, context_rows, log_values
from perturbkit.data.prepare.settings import PrepareConfig
from perturbkit.data.prepare.sources import Plan, Sources
from perturbkit.data.prepare.stream import KeptRows, Watch, kept_rows
from perturbkit.data.ranksum import RankSums, ordered_keys, walk


@dataclass(eq=False)
class Scratch:
    """Keys of values in the order of their readouts, a segment for each chunk and context."""

    file: BinaryIO
    n_readouts: int
    segments: dict[int, list[int]] = field(default_factory=dict)
    """for each context where its segments begin, in bytes"""
    stored_g: dict[int, np.ndarray] = field(default_factory=dict)
    """for each context the number of keys of each readout"""

    def add(self, context: int, keys: np.ndarray, indptr: np.ndarray) -> None:
        """Append one segment: its pointers, then its keys."""
        at = self.file.seek(0, 2)
        self.file.write(indptr.tobytes())
        self.file.write(keys.tobytes())
        self.segments.setdefault(context, []).append(at)
        self.stored_g[context] = self.stored_g.get(context, 0) + np.diff(indptr)

    def block(self, context: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys of readouts `low` to `high` of all segments, and where each begins."""
        begin_sg, parts, total = [], [], 0
        for at in self.segments[context]:
            pointers = self._read(at + 8 * low, high - low + 1, np.int64)
            start = at + 8 * (self.n_readouts + 1) + 8 * int(pointers[0])
            parts.append(self._read(start, int(pointers[-1] - pointers[0]), np.uint64))
            begin_sg.append(pointers - pointers[0] + total)
            total += parts[-1].size
        indptr = np.r_[0, np.cumsum(self.stored_g[context][low:high])]
        keys = np.empty(total, np.uint64)
        _gather(np.concatenate(parts), np.stack(begin_sg), indptr, keys)
        return keys, indptr

    def _read(self, at: int, n: int, dtype: type) -> np.ndarray:
        self.file.seek(at)
        return np.frombuffer(self.file.read(8 * n), dtype)

    def blocks(self, context: int, n_keys: int, most: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of readouts of about so many keys, and at most so many readouts."""
        ends, low = np.cumsum(self.stored_g[context]), 0
        while low < self.n_readouts:
            before = int(ends[low - 1]) if low else 0
            high = int(np.searchsorted(ends, before + n_keys, side="right"))
            high = min(max(high, low + 1), low + most)
            yield low, high
            low = high


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Which context each condition is compared in, and as which group there."""

    context_c: np.ndarray
    """number of the context; -1 where there is nothing to compare"""
    local_c: np.ndarray
    """0 for the control, then the conditions that have cells"""
    members: list[np.ndarray]
    """conditions of each context in the order of their groups, the control first"""

    @classmethod
    def of(cls, table: pl.DataFrame, n_c: np.ndarray) -> Self:
        """Compare the conditions that have cells with the control of their context."""
        context_c, local_c = np.full(table.height, -1), np.zeros(table.height, np.int64)
        members = []
        for control, others in context_rows(table):
            here = np.r_[control, others[n_c[others] > 0]]
            if n_c[control] and here.size > 1:
                context_c[here], local_c[here] = len(members), np.arange(here.size)
                members.append(here)
        return cls(context_c, local_c, members)


def stream_ranks(
    sources: Sources, config: PrepareConfig, size: Plan, n_k: np.ndarray, folder: Path, watch: Watch
) -> Tests:
    """Return AUC and p-value of the rank sum of each condition and readout.

    Args:
        sources: the files.
        config: what is kept.
        size: the plan, which says how much is read at a time.
        n_k: kept cells of each group.
        folder: where the scratch file lies meanwhile.
        watch: told of progress.

    Returns:
        [conditions, readouts], memory-mapped; NaN where there is nothing to compare.

    Raises:
        FileError: the disk is too small.
    """
    table = condition_table(sources.conditions)
    n_c = np.bincount(sources.condition_k, n_k, table.height).astype(np.int64)
    compared = Comparisons.of(table, n_c)
    require_space(folder, 8 * size.n_values + 16 * table.height * len(sources.readouts))
    shape = (table.height, len(sources.readouts))
    with tempfile.TemporaryFile(dir=folder) as auc, tempfile.TemporaryFile(dir=folder) as p_value:
        tests = Tests(*(np.memmap(f, np.float64, "w+", shape=shape) for f in (auc, p_value)))
        for test in tests.arrays:
            for row in test:
                row[:] = np.nan
        with tempfile.TemporaryFile(dir=folder) as file:
            scratch = Scratch(file, shape[1])
            for rows in kept_rows(sources, config, size, watch, what="ranks"):
                _scatter(rows, sources, compared, scratch)
            for context, members in enumerate(compared.members):
                if context in scratch.segments:
                    _rank(scratch, context, members, n_c[members], size.values_at_a_time, tests)
    return tests


def _scatter(rows: KeptRows, sources: Sources, compared: Comparisons, scratch: Scratch) -> None:
    """Write the values of some cells in the order of the readouts."""
    condition_n = np.where(rows.group_n >= 0, sources.condition_k[rows.group_n], 0)
    context_n = np.where(rows.group_n >= 0, compared.context_c[condition_n], -1)
    part = rows.rows
    values = part.data.astype(np.float32)
    if rows.scale_n is not None:
        values = log_values(part.data, part.indptr, rows.scale_n)
    codes = np.repeat(compared.local_c[condition_n], np.diff(part.indptr))
    keys = ordered_keys(values, codes)
    for context in np.unique(context_n[context_n >= 0]):
        chosen = context_n == context
        at_g = np.zeros(scratch.n_readouts + 1, np.int64)
        _count(values, part.indices, part.indptr, rows.columns_g, chosen, at_g)
        indptr = np.cumsum(at_g)
        out, next_g = np.empty(int(indptr[-1]), np.uint64), indptr[:-1].copy()
        _place(keys, values, part.indices, part.indptr, rows.columns_g, chosen, next_g, out)
        scratch.add(int(context), out, indptr)


def _rank(
    scratch: Scratch, context: int, members: np.ndarray, n_k: np.ndarray, n_keys: int, tests: Tests
) -> None:
    """Fill in the tests of one context, some readouts at a time."""
    most = max(1, n_keys // (4 * n_k.size))  # the sums of a readout take room as well
    for low, high in scratch.blocks(context, n_keys, most):
        keys, indptr = scratch.block(context, low, high)
        u_gk, tie_gk = np.zeros((2, high - low, n_k.size))
        for g in range(high - low):
            mine = keys[indptr[g] : indptr[g + 1]]
            mine.sort()
            walk(mine, n_k, u_gk[g], tie_gk[g])
        sums = RankSums(u_gk[:, 1:].T, tie_gk[:, 1:].T, n_k[1:], int(n_k[0]))
        tests.statistic_cg[members[1:], low:high] = sums.auc_pg
        tests.p_value_cg[members[1:], low:high] = sums.p_value_pg


@njit(cache=True, nogil=True)
def _count(values, indices, indptr, columns_g, chosen, at_g):  # noqa: ANN001, ANN202
    for row in range(chosen.size):
        if chosen[row]:
            for at in range(indptr[row], indptr[row + 1]):
                g = columns_g[indices[at]]
                if g >= 0 and values[at] != 0:
                    at_g[g + 1] += 1


@njit(cache=True, nogil=True)
def _place(keys, values, indices, indptr, columns_g, chosen, next_g, out):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    for row in range(chosen.size):
        if chosen[row]:
            for at in range(indptr[row], indptr[row + 1]):
                g = columns_g[indices[at]]
                if g >= 0 and values[at] != 0:
                    out[next_g[g]] = keys[at]
                    next_g[g] += 1


@njit(cache=True, nogil=True)
def _gather(parts, begin_sg, indptr, out):  # noqa: ANN001, ANN202
    for g in range(indptr.size - 1):
        to = indptr[g]
        for s in range(begin_sg.shape[0]):
            for at in range(begin_sg[s, g], begin_sg[s, g + 1]):
                out[to] = parts[at]
                to += 1
