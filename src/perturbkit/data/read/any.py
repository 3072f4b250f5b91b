"""Any file or folder that is read here, told apart by what it holds."""

import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import pandas as pd

from perturbkit.core.errors import FileError, SchemaError, UnknownNameError
from perturbkit.data.read.gctx import MATRIX, read_gctx
from perturbkit.data.read.h5ad import FAULTS, HDF5_MAGIC, STAMP, damaged, read_adata
from perturbkit.data.read.tables import (
    PLAIN,
    SUFFIXES,
    TableOptions,
    read_gct,
    read_profiles,
    read_table,
)
from perturbkit.data.read.tenx import read_tenx_folder, read_tenx_h5

FORMATS = "h5ad, zarr, 10x (h5, or a folder with matrix.mtx), GCTX, GCT, CSV, TSV, Parquet"


def read_any(path: Path, options: TableOptions = PLAIN) -> tuple[ad.AnnData, str]:
    """Read a file or folder; return its data and what its rows are, `cells` or `profiles`.

    A folder of h5ad files of the same readouts is one screen: row names and batches are prefixed
    by the names of the files, which go to `obs["file"]`.

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
        return read_profiles(path, options), "profiles"
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
    parts = sorted(p for p in path.iterdir() if p.suffix == ".h5ad")
    if parts:
        return joined({p.stem: read_adata(p) for p in parts}, path), "cells"
    message = f"{path} is a folder, and no zarr or 10x one; give a file in it: {FORMATS}"
    raise FileError(message)


def joined(parts: dict[str, ad.AnnData], path: Path) -> ad.AnnData:
    """Return the cells of several files as one, the readouts in the order of the first.

    Raises:
        SchemaError: the files have other readouts, or units.
    """
    first_name, first = next(iter(parts.items()))
    known = set(first.var_names)
    units = {str(a.uns[STAMP]["unit"]) if STAMP in a.uns else None for a in parts.values()}
    if len(units) > 1:
        message = f"the files in {path} are in several units ({units}); bring them to one"
        raise SchemaError(message)
    aligned = {}
    for name, part in parts.items():
        other = set(part.var_names)
        if other != known or not part.var_names.is_unique:
            message = (
                f"{path}: {name} has {len(other - known):,} readouts that {first_name} lacks, and "
                f"lacks {len(known - other):,} of its own; files of one screen need the same "
                "readouts, in any order"
            )
            raise SchemaError(message)
        part.obs["file"] = name
        if "batch" in part.obs.columns:
            part.obs["batch"] = f"{name}:" + part.obs["batch"].astype(str)
        aligned[name] = part[:, first.var_names]
    whole = ad.concat(aligned, index_unique=":", merge="first", join="inner")
    whole.uns = {STAMP: first.uns[STAMP]} if STAMP in first.uns else {}
    return whole


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
