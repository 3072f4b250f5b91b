"""Any file or folder that is read here, told apart by what it holds."""

import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import pandas as pd

from perturbkit.core.errors import FileError, SchemaError, UnknownNameError
from perturbkit.data.read.gctx import MATRIX, read_gctx
from perturbkit.data.read.h5ad import HDF5_MAGIC, damaged, read_adata
from perturbkit.data.read.rows import FAULTS
from perturbkit.data.read.tables import SUFFIXES, read_gct, read_profiles, read_table
from perturbkit.data.read.tenx import read_tenx_folder, read_tenx_h5

FORMATS = "h5ad, zarr, 10x (h5, or a folder with matrix.mtx), GCTX, GCT, CSV, TSV, Parquet"


def read_any(path: Path) -> tuple[ad.AnnData, str]:
    """Read a file or folder; return its data and what its rows are, `cells` or `profiles`.

    Raises:
        FileError: missing, damaged, or of no format that is read here.
        SchemaError: a table without the columns it needs.
    """
    if path.is_dir():
        return _folder(path)
    with path.open("rb") as handle:
        head = handle.read(len(HDF5_MAGIC))
    if head == HDF5_MAGIC:
        return _hdf5(path)
    if head.startswith((b"#1.2", b"#1.3")):
        return read_gct(path), "profiles"
    if any(s in SUFFIXES for s in path.suffixes):
        return read_profiles(path), "profiles"
    if path.suffix == ".h5ad":
        return read_adata(path), "cells"  # says what the file is instead
    message = f"{path} is of no format that is read here; give one of: {FORMATS}"
    raise FileError(message)


def _hdf5(path: Path) -> tuple[ad.AnnData, str]:
    try:
        with h5py.File(path, "r") as handle:
            is_gctx, is_tenx = MATRIX in handle, "matrix/barcodes" in handle
    except FAULTS as error:
        raise damaged(path, error) from error
    if is_gctx:
        return read_gctx(path), "profiles"
    return (read_tenx_h5(path) if is_tenx else read_adata(path)), "cells"


def _folder(path: Path) -> tuple[ad.AnnData, str]:
    names = {p.name.removesuffix(".gz") for p in path.iterdir()}
    if names & {".zgroup", "zarr.json"}:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names and versions: the Screen judges those
                return ad.read_zarr(path), "cells"
        except FAULTS as error:
            raise damaged(path, error) from error
    if "matrix.mtx" in names:
        return read_tenx_folder(path), "cells"
    message = f"{path} is a folder, and no zarr or 10x one; give a file in it: {FORMATS}"
    raise FileError(message)


def with_labels(adata: ad.AnnData, path: str | Path) -> ad.AnnData:
    """Return the data with the columns of a table of labels, joined by its first column.

    Args:
        adata: rows without labels, as of 10x.
        path: CSV, TSV or Parquet; the first column holds the row names (barcodes).

    Raises:
        FileError: not a table.
        SchemaError: rows of the table are not in the data, or occur twice.
    """
    table = read_table(path)
    key = table.columns[0]
    frame = pd.DataFrame({n: table[n].to_list() for n in table.columns}).set_index(key)
    frame.index = frame.index.astype(str)
    if frame.index.has_duplicates:
        message = f"{path}: {key} {frame.index[frame.index.duplicated()][0]!r} occurs twice"
        raise SchemaError(message)
    known = adata.obs_names.isin(frame.index)
    if not known.any():
        message = (
            f"no row of {path} is in the data: {key} holds {frame.index[0]!r}, and the rows are "
            f"named {adata.obs_names[0]!r}; name them alike"
        )
        raise UnknownNameError(message)
    labelled: Any = adata[known].copy()
    for name in frame.columns:
        labelled.obs[name] = frame[name].reindex(labelled.obs_names).to_numpy()
    return labelled
