"""Rows of a matrix in an h5ad file, a chunk at a time: what streaming reads instead of X."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from scipy import sparse

from perturbkit.core.errors import FileError, PerturbkitError, SchemaError, unknown_name
from perturbkit.core.files import existing
from perturbkit.data.read.h5ad import (
    FAULTS,
    damaged,
    free_memory,
    refuse_huge,
    refuse_links,
    require_hdf5,
    require_numbers,
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Some consecutive rows, as the three arrays of a CSR matrix."""

    start: int
    """position of the first row in the file"""
    data: np.ndarray
    """stored values"""
    indices: np.ndarray
    """their columns"""
    indptr: np.ndarray
    """start of each row in `data`, and the end"""

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.indptr.size - 1

    @property
    def stop(self) -> int:
        """Position after the last row."""
        return self.start + self.n

    def matrix(self, n_columns: int) -> sparse.csr_matrix:
        """Return the rows as a matrix that shares these arrays."""
        return sparse.csr_matrix((self.data, self.indices, self.indptr), (self.n, n_columns))


class H5Matrix:
    """A matrix in an open h5ad file, CSR or dense; `with H5Matrix(path) as matrix: ...`.

    Args:
        path: the h5ad file.
        layer: the layer to read instead of X.

    Raises:
        FileError: missing, not AnnData, damaged, or stored by columns.
        UnknownNameError: no such layer.
    """

    def __init__(self, path: str | Path, layer: str | None = None) -> None:
        self.path = existing(path, "h5ad file")
        require_hdf5(self.path)
        try:
            self.file = h5py.File(self.path, "r")
        except FAULTS as error:
            raise damaged(self.path, error) from error
        try:
            refuse_links(self.file, self.path)
            self._open(layer)
            # the matrix is read in chunks; row pointers and labels are not
            refuse_huge(self.file["obs"], self.path)
        except FAULTS as error:
            self.file.close()
            if isinstance(error, PerturbkitError):
                raise
            raise damaged(self.path, error) from error
        except BaseException:
            self.file.close()
            raise

    def _open(self, layer: str | None) -> None:
        missing = [name for name in ("obs", "var") if name not in self.file]
        if missing or (layer is None and "X" not in self.file):
            found = ", ".join(sorted(self.file)) or "nothing"
            message = f"{self.path} holds {found}; an h5ad file needs X, obs and var: give one"
            raise FileError(message)
        if layer is not None and layer not in self.file.get("layers", {}):
            raise unknown_name("layer", layer, self.file.get("layers", {}))
        self.element: Any = self.file["X"] if layer is None else self.file["layers"][layer]
        self.is_sparse = isinstance(self.element, h5py.Group)
        if not self.is_sparse:
            self.shape = tuple(int(n) for n in self.element.shape)
            self._require_fitting(self.shape[0])
            self.indptr = np.arange(self.shape[0] + 1, dtype=np.int64) * self.shape[1]
            self.itemsize = self.element.dtype.itemsize
            require_numbers(self.element.dtype, self.path)
        else:
            self._open_sparse()
        if len(self.shape) != 2 or not all(self.shape):
            message = f"{self.path} is empty: its matrix has the shape {self.shape}"
            raise SchemaError(message)

    def _open_sparse(self) -> None:
        encoding = self.element.attrs.get(
            "encoding-type", self.element.attrs.get("h5sparse_format")
        )
        if encoding not in ("csr_matrix", "csr"):
            message = (
                f"{self.path} stores its matrix by columns ({encoding}), which cannot be read cell "
                f"by cell; write it by rows: perturbkit check {self.path.name} --fix ROWS.h5ad"
            )
            raise FileError(message)
        require_numbers(self.element["data"].dtype, self.path)
        shape = self.element.attrs.get("shape", self.element.attrs.get("h5sparse_shape"))
        self.shape = tuple(int(n) for n in shape)
        self._require_fitting(self.element["indptr"].shape[0])
        self.indptr = self.element["indptr"][:].astype(np.int64)
        stored = (self.element["data"].shape[0], self.element["indices"].shape[0])
        steps = np.diff(self.indptr)
        whole = self.indptr.size == self.shape[0] + 1 and self.indptr[0] == 0
        if not whole or (steps < 0).any() or stored != (self.indptr[-1],) * 2:
            message = (
                f"{self.path} is damaged: its row pointers do not fit {stored[0]:,} stored values; "
                "copy or download it again"
            )
            raise FileError(message)
        self.itemsize = self.element["data"].dtype.itemsize + self.element["indices"].dtype.itemsize

    def _require_fitting(self, n_rows: int) -> None:
        if 16.0 * n_rows > free_memory():
            message = (
                f"{self.path} declares {n_rows:,} rows, more than fit in memory; check the file"
            )
            raise FileError(message)

    @property
    def nnz(self) -> int:
        """Stored values."""
        return int(self.indptr[-1])

    def chunks(self, n_values: int, start: int = 0) -> Iterator[Rows]:
        """Yield all rows in order, about `n_values` stored values at a time, at least one row.

        The next chunk is read while the caller works on this one.

        Raises:
            FileError: the file is damaged where it is read.
        """
        edges = self.edges(n_values, start)
        with ThreadPoolExecutor(1) as pool:
            coming = None
            for low, high in itertools.pairwise(edges):
                now = coming
                coming = pool.submit(self.rows, low, high)
                if now is not None:
                    yield now.result()
            if coming is not None:
                yield coming.result()

    def edges(self, n_values: int, start: int = 0) -> list[int]:
        """Return the first row of each chunk, and the end; the same for the same `n_values`."""
        edges, row = [0], 0
        while row < self.shape[0]:
            row = int(np.searchsorted(self.indptr, self.indptr[row] + n_values, side="right")) - 1
            row = min(max(row, edges[-1] + 1), self.shape[0])
            edges.append(row)
        return edges[edges.index(start) :]

    def rows(self, low: int, high: int) -> Rows:
        """Return rows `low` to `high`."""
        try:
            if self.is_sparse:
                at = slice(int(self.indptr[low]), int(self.indptr[high]))
                data, indices = self.element["data"][at], self.element["indices"][at]
                indptr = self.indptr[low : high + 1] - at.start
            else:
                matrix = sparse.csr_matrix(self.element[low:high])
                data, indices, indptr = matrix.data, matrix.indices, matrix.indptr.astype(np.int64)
        except FAULTS as error:
            raise damaged(self.path, error) from error
        if indices.size and (indices.min() < 0 or indices.max() >= self.shape[1]):
            message = (
                f"{self.path} is damaged: a column number is outside the matrix; copy it again"
            )
            raise FileError(message)
        return Rows(low, data, indices, indptr)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
