"""The cell store: all cells of a screen in flat memory-mapped arrays, read in any order."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numba import njit

from perturbkit.core.condition import CONDITION_SCHEMA, CONTROL
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import existing, read_json, sha256
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.stats import SMALL, TARGET_SUM

FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = {"data": None, "indices": None, "indptr": "int64", "condition": "int32", "batch": "int32",
          "source": "int64"}  # fmt: skip
"""Arrays of a store and their types; those of data and indices are in the manifest."""
TYPES = ("uint16", "uint32", "float32")


@dataclass(frozen=True, eq=False)
class CellStore:
    """Cells by readouts as a CSR matrix on disk, cells of one condition side by side.

    Make one with `write_store`, open it with `CellStore.open`: nothing is read until asked for.
    `store_of` makes one in memory.
    """

    folder: Path | None
    """where it lies; None for a store in memory"""
    readouts: Vocabulary
    conditions: pl.DataFrame
    """the conditions, with `n_cells`"""
    batches: list[str]
    unit: str
    arrays: dict[str, np.ndarray]
    """memory maps under the names of ARRAYS"""

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = False) -> Self:
        """Open a store.

        Args:
            folder: what `write_store` wrote.
            verify: whether to compare the checksums, which reads everything.

        Raises:
            FileError: missing, cut short, of another format or, if verified, changed.
        """
        folder = existing(folder, "cell store")
        about: Any = read_json(folder / MANIFEST)
        try:
            if about["format"] != FORMAT:
                message = f"{folder} has layout {about['format']}; this version reads {FORMAT}"
                raise FileError(message)
            arrays = {name: _map(folder, name, about["arrays"][name]) for name in ARRAYS}
            rows = [tuple(r) for r in about["conditions"]]
            schema = {**CONDITION_SCHEMA, "n_cells": pl.Int64}
            store = cls(folder, Vocabulary(about["readouts"], "readout"),
                        pl.DataFrame(rows, schema=schema, orient="row"), about["batches"],
                        about["unit"], arrays)  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, FileError):
                raise
            message = (
                f"{folder / MANIFEST} does not describe a cell store ({error}); write it again"
            )
            raise FileError(message) from error
        if verify:
            store.verify()
        return store

    def verify(self) -> None:
        """Compare the checksum of each array with the manifest's; a store in memory has none.

        Raises:
            FileError: one differs.
        """
        if self.folder is None:
            return
        about: Any = read_json(self.folder / MANIFEST)
        for name, entry in about["arrays"].items():
            if sha256(self.folder / f"{name}.bin") != entry["sha256"]:
                message = (
                    f"{self.folder / name}.bin has changed since it was written; write it again"
                )
                raise FileError(message)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.arrays["indptr"].size - 1

    def dense(self, rows: np.ndarray, *, log: bool = False) -> np.ndarray:
        """Return some cells, float32 [len(rows), readouts].

        Args:
            rows: positions in the store, in any order, repeats allowed.
            log: whether to normalize counts to log1p per ten thousand.

        Raises:
            SchemaError: a position is outside the store, or logs are asked of what is no count.
        """
        rows = np.ascontiguousarray(rows, np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.n_cells):
            message = f"positions {rows.min()} to {rows.max()} in a store of {self.n_cells:,} cells"
            raise SchemaError(message)
        if log and self.unit != "counts":
            message = f"the store is in {self.unit}, and only counts are normalized; drop log"
            raise SchemaError(message)
        out = np.zeros((rows.size, len(self.readouts)), np.float32)
        _gather(self.arrays["data"], self.arrays["indices"], self.arrays["indptr"], rows,
                TARGET_SUM if log else 0.0, out)  # fmt: skip
        return out

    @cached_property
    def control_groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Control cells in the order of their context and batch, and where each group lies.

        Returns:
            Positions of control cells; start and end in these of each pair of context and batch.
        """
        contexts = self.conditions["context"].to_numpy()
        names, context_c = np.unique(contexts, return_inverse=True)
        is_control = (self.conditions["perturbation"] == CONTROL).to_numpy()
        rows = np.flatnonzero(is_control[self.arrays["condition"]])
        place = context_c[self.arrays["condition"][rows]] * len(self.batches)
        place = place + self.arrays["batch"][rows]
        order = np.argsort(place, kind="stable")
        pairs = np.arange(names.size * len(self.batches))
        start, end = (np.searchsorted(place[order], pairs, side=s) for s in ("left", "right"))
        return rows[order], start, end

    def matched_controls(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return for each cell a random control cell of its context and batch.

        Where the batch has none, one of another batch of the context.

        Raises:
            SchemaError: the context has no control cell.
        """
        controls, start, end = self.control_groups
        n_batches = len(self.batches)
        _, context_c = np.unique(self.conditions["context"].to_numpy(), return_inverse=True)
        context = context_c[self.arrays["condition"][rows]]
        pair = context * n_batches + self.arrays["batch"][rows]
        low, high = start[pair], end[pair]
        empty = low == high
        low = np.where(empty, start[context * n_batches], low)
        high = np.where(empty, end[context * n_batches + n_batches - 1], high)
        if (low == high).any():
            where = int(np.argmax(low == high))
            name = self.conditions["context"][int(self.arrays["condition"][rows[where]])]
            message = f"context {name!r} has no control cell to match; leave the context out"
            raise SchemaError(message)
        return controls[low + np.floor(rng.random(rows.size) * (high - low)).astype(np.int64)]


def _map(folder: Path, name: str, entry: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(ARRAYS[name] or _known(entry["dtype"]))
    path = existing(folder / f"{name}.bin", "array of the cell store")
    size = int(entry["size"])
    if path.stat().st_size != size * dtype.itemsize:
        message = (
            f"{path} has {path.stat().st_size:,} bytes and {size * dtype.itemsize:,} are expected; "
            "it was cut short: write the store again"
        )
        raise FileError(message)
    return np.memmap(path, dtype, mode="r", shape=(size,)) if size else np.empty(0, dtype)


def _known(dtype: str) -> str:
    if dtype not in TYPES:
        message = f"type {dtype!r} is not one of {', '.join(TYPES)}"
        raise ValueError(message)
    return dtype


@njit(cache=True, nogil=True)
def _gather(data, indices, indptr, rows, total, out):  # noqa: ANN001, ANN202
    table = np.empty(SMALL, np.float32)  # logarithms of small counts, for one cell at a time
    for i in range(rows.size):
        low, high = indptr[rows[i]], indptr[rows[i] + 1]
        scale = 0.0
        if total > 0:
            size = 0.0
            for at in range(low, high):
                size += data[at]
            scale = total / size if size > 0 else 0.0
            table[:] = -1.0
        for at in range(low, high):
            g = indices[at]
            if g >= out.shape[1]:  # a changed file must not write outside
                continue
            value = float(data[at])
            small = int(value) if 0 < value < SMALL else 0
            if total == 0.0:
                out[i, g] = value
            elif small == value:
                if table[small] < 0:
                    table[small] = np.log1p(value * scale)
                out[i, g] = table[small]
            else:
                out[i, g] = np.log1p(value * scale)
