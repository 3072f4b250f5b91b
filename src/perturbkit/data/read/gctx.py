"""GCTX (LINCS): profiles in HDF5, of which only the rows and columns asked for are read."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from perturbkit.core.errors import FileError, PerturbkitError
from perturbkit.core.files import existing
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.read.h5ad import (
    FAULTS,
    damaged,
    free_memory,
    refuse_huge,
    refuse_links,
    require_hdf5,
)

MATRIX, ROW, COLUMN = "0/DATA/0/matrix", "0/META/ROW", "0/META/COL"
GAP = 2
"""Profiles that lie this close are read in one go: a seek costs more than reading them."""


def read_gctx(
    path: str | Path,
    *,
    profiles: Sequence[str] | None = None,
    readouts: Sequence[str] | None = None,
) -> ad.AnnData:
    """Read a GCTX file, or a part of it.

    Args:
        path: the file.
        profiles: ids of the columns of the file (signatures) to read, in this order; by default
            all.
        readouts: ids of its rows (genes) to read, in this order; by default all.

    Returns:
        Profiles by readouts, float32; the file's metadata in `obs` and `var`.

    Raises:
        FileError: missing, not GCTX, damaged, or with links that leave the file.
        UnknownNameError: an id is not in the file.
    """
    file = existing(path, "GCTX file")
    require_hdf5(file)
    try:
        with h5py.File(file, "r") as handle:
            refuse_links(handle, file)
            if MATRIX not in handle:
                message = f"{file} holds no {MATRIX}, as GCTX does; give a GCTX file"
                raise FileError(message)
            refuse_huge(handle["0/META"], file)
            obs, var = _metadata(handle[COLUMN]), _metadata(handle[ROW])
            matrix: Any = handle[MATRIX]
            if matrix.shape != (len(obs), len(var)):
                message = (
                    f"{file}: the matrix is {matrix.shape}, and the ids say "
                    f"{(len(obs), len(var))}; copy the file again"
                )
                raise FileError(message)
            n_wanted = [len(d) if n is None else len(n)
                        for d, n in ((obs, profiles), (var, readouts))]  # fmt: skip
            if 4.0 * n_wanted[0] * n_wanted[1] > free_memory():
                message = (
                    f"{file}: {n_wanted[0]:,} profiles x {n_wanted[1]:,} readouts do not fit in "
                    "memory; name the profiles or readouts that are wanted"
                )
                raise FileError(message)
            rows = _where(obs.index, profiles, "profile")
            columns = _where(var.index, readouts, "readout")
            x_ng = read_part(matrix, rows, columns)
    except PerturbkitError:
        raise
    except FAULTS as error:
        raise damaged(file, error) from error
    return ad.AnnData(x_ng, obs=obs.iloc[rows], var=var.iloc[columns])


def read_part(matrix: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return some rows and columns of an HDF5 matrix, reading little more than these.

    Args:
        matrix: the dataset.
        rows: positions, in any order.
        columns: positions, in any order.
    """
    out = np.empty((rows.size, columns.size), np.float32)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    low, high = int(columns.min()), int(columns.max()) + 1
    breaks = np.flatnonzero(np.diff(ordered) > GAP) + 1
    for first, last in pairwise([0, *breaks.tolist(), rows.size]):
        begin, end = int(ordered[first]), int(ordered[last - 1]) + 1
        for at in range(begin, end, 1024):
            inside = slice(*np.searchsorted(ordered, [at, min(at + 1024, end)]))
            if inside.start < inside.stop:
                block = matrix[at : min(at + 1024, end), low:high]
                taken = block[ordered[inside] - at][:, columns - low]
                out[order[inside]] = taken
    return out


def _where(index: pd.Index, names: Sequence[str] | None, kind: str) -> np.ndarray:
    known = Vocabulary(index, kind)
    return np.arange(len(known)) if names is None else known.encode(names)


def _metadata(group: Any) -> pd.DataFrame:
    columns = {}
    for name in group:
        values = group[name][:]
        if values.dtype.kind in "SO":
            values = np.array([_text(v) for v in values], object)
        columns[name] = values
    table = pd.DataFrame(columns)
    table.index = pd.Index(table.pop("id").astype(str).to_numpy(), dtype=object)
    return table


def _text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip()
