"""A file as the doctor sees it: labels in memory, the matrix in chunks where it can be."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from perturbkit.core.errors import FileError, PerturbkitError
from perturbkit.data.read.any import read_any
from perturbkit.data.read.h5ad import FAULTS, HDF5_MAGIC, STAMP, damaged
from perturbkit.data.read.rows import H5Matrix, Rows
from perturbkit.data.read.tables import TableOptions

AT_A_TIME = 4_000_000
COUNT_LAYERS = ("counts", "raw_counts")


class Chunked(Protocol):
    """A matrix that is read some rows at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        ...

    @property
    def is_sparse(self) -> bool:
        """Whether zeros are not stored."""
        ...

    def chunks(self, n_values: int, start: int = 0) -> Iterator[Rows]:
        """Yield all rows in order."""
        ...


class MemoryMatrix:
    """A matrix in memory."""

    def __init__(self, x_ng: Any) -> None:
        self.x_ng = x_ng
        self.shape: tuple[int, ...] = (int(x_ng.shape[0]), int(x_ng.shape[1]))
        self.is_sparse = bool(sparse.issparse(x_ng))

    def chunks(self, n_values: int, start: int = 0) -> Iterator[Rows]:
        """Yield all rows in order."""
        step = max(1, n_values // max(self.shape[1], 1))
        for low in range(start, self.shape[0], step):
            part = sparse.csr_matrix(self.x_ng[low : low + step])
            yield Rows(low, part.data, part.indices, part.indptr)


@dataclass(frozen=True, eq=False)
class Opened:
    """What a file holds."""

    adata: ad.AnnData
    """obs, var and uns; X only where the file was read into memory"""
    matrix: Chunked
    layout: str
    """how the values are stored, in words"""
    layers: Mapping[str, Chunked]
    """those that may hold counts"""
    level: str
    """what the rows are: cells or profiles"""

    @classmethod
    def of(cls, adata: ad.AnnData, level: str) -> "Opened":
        """Return data in memory."""
        stamp = adata.uns.get(STAMP)
        stored = stamp.get("level", level) if isinstance(stamp, dict) else level
        layers = {n: MemoryMatrix(adata.layers[n]) for n in COUNT_LAYERS if n in adata.layers}
        return cls(adata, MemoryMatrix(adata.X), _layout(adata.X), layers, str(stored))


def open_file(path: Path, options: TableOptions, stack: ExitStack) -> Opened:
    """Open a file; the matrix of an h5ad file by rows stays on disk until the stack closes.

    Raises:
        FileError: damaged, or of no format that is read here.
        SchemaError: a table without the columns it needs.
    """
    streamed = _streamed(path, stack) if path.is_file() else None
    return streamed or Opened.of(*read_any(path, options))


def _streamed(path: Path, stack: ExitStack) -> Opened | None:
    """Return an h5ad file by rows without reading its matrix; None for everything else."""
    with path.open("rb") as handle:
        if handle.read(len(HDF5_MAGIC)) != HDF5_MAGIC:
            return None
    try:
        with h5py.File(path, "r") as file:
            x: Any = file.get("X")
            is_csr = isinstance(x, h5py.Group) and "csr" in str(
                x.attrs.get("encoding-type", x.attrs.get("h5sparse_format"))
            )
            if not {"obs", "var"} <= set(file) or not (is_csr or isinstance(x, h5py.Dataset)):
                return None
            names = [n for n in COUNT_LAYERS if n in file.get("layers", {})]
    except FAULTS:
        return None  # read_any says what is wrong with it
    matrix = stack.enter_context(H5Matrix(path))
    try:
        layers: dict[str, Chunked] = {n: stack.enter_context(H5Matrix(path, n)) for n in names}
    except FileError:  # by columns: left alone
        layers = {}
    adata = _frames(matrix)
    stamp = adata.uns.get(STAMP)
    level = stamp.get("level", "cells") if isinstance(stamp, dict) else "cells"
    layout = "by rows (CSR)" if matrix.is_sparse else "densely"
    return Opened(adata, matrix, layout, layers, str(level))


def _frames(matrix: H5Matrix) -> ad.AnnData:
    from anndata.io import read_elem

    file = matrix.file
    try:
        obs, var = read_elem(file["obs"]), read_elem(file["var"])
        kept = (STAMP, "genetic_perturbations")
        uns = {n: read_elem(file["uns"][n]) for n in kept if n in file.get("uns", {})}
        for frame, n, what in ((obs, matrix.shape[0], "obs"), (var, matrix.shape[1], "var")):
            if not isinstance(frame, pd.DataFrame) or len(frame) != n:
                message = (
                    f"{matrix.path} contradicts itself: its matrix is {matrix.shape[0]:,} x "
                    f"{matrix.shape[1]:,}, and {what} does not fit; write it again"
                )
                raise FileError(message)
            frame.index = frame.index.astype(str)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that repeat are findings here
            return ad.AnnData(obs=obs, var=var, uns=uns)
    except PerturbkitError:
        raise
    except FAULTS as error:
        raise damaged(matrix.path, error) from error


def _layout(x_ng: Any) -> str:
    if not sparse.issparse(x_ng):
        return "densely"
    return "by rows (CSR)" if x_ng.format == "csr" else "by columns (CSC)"


def levels_of_targets(
    opened: Opened, code_n: np.ndarray, column_c: np.ndarray, scale_n: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean level of each perturbation's target, there and in the controls.

    Args:
        opened: the file.
        code_n: perturbation of each row; 0 is the control.
        column_c: column of the target of each perturbation; -1 has none.
        scale_n: what the counts of a row are multiplied by; None where values are logs, which are
            taken back.
    """
    n_c = np.bincount(code_n[code_n >= 0], minlength=column_c.size).astype(float)
    own_c, control_g = np.zeros(column_c.size), np.zeros(opened.matrix.shape[1])
    wanted_g = np.zeros(opened.matrix.shape[1], bool)
    wanted_g[column_c[column_c >= 0]] = True
    for rows in opened.matrix.chunks(AT_A_TIME):
        row_n = np.repeat(np.arange(rows.start, rows.stop), np.diff(rows.indptr))
        kept = wanted_g[rows.indices]
        code, column, row = code_n[row_n[kept]], rows.indices[kept], row_n[kept]
        value = rows.data[kept].astype(float)
        value = np.expm1(value) if scale_n is None else value * scale_n[row]
        control = code == 0
        np.add.at(control_g, column[control], value[control])
        own = (code > 0) & (column_c[code] == column)
        np.add.at(own_c, code[own], value[own])
    before_g = control_g / max(n_c[0], 1.0)
    before_c = np.where(column_c >= 0, before_g[column_c], np.nan)
    return own_c / np.maximum(n_c, 1.0), before_c
