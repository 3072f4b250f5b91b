"""10x Genomics: the filtered matrix as HDF5 or as a folder of mtx and tsv files."""

import gzip
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import io, sparse

from perturbkit.core.errors import FileError, PerturbkitError
from perturbkit.core.files import existing
from perturbkit.data.read.h5ad import FAULTS, damaged, refuse_huge, refuse_links, require_hdf5

GENES, GUIDES = "Gene Expression", "CRISPR Guide Capture"


def read_tenx_h5(path: str | Path) -> ad.AnnData:
    """Read Cell Ranger's h5: cells by genes, counts; other features are left out.

    Raises:
        FileError: missing, not of 10x, or damaged.
    """
    return _features(_tenx_h5(path), GENES)


def read_tenx_folder(path: str | Path) -> ad.AnnData:
    """Read Cell Ranger's folder: `matrix.mtx`, `barcodes.tsv`, `features.tsv` (or `genes.tsv`).

    Raises:
        FileError: one of the files is missing, damaged, or of another size.
    """
    return _features(_tenx_folder(path), GENES)


def read_tenx_guides(path: str | Path) -> tuple[ad.AnnData, ad.AnnData]:
    """Read the h5 or folder of an experiment with guide capture: cells by genes, cells by guides.

    `var` of the guides has the column `target` where the file names the targets.

    Raises:
        FileError: damaged, or without guide features.
    """
    path = existing(path, "10x file or folder")
    whole = _tenx_folder(path) if path.is_dir() else _tenx_h5(path)
    guides = _features(whole, GUIDES)
    if not guides.n_vars:
        found = ", ".join(sorted(set(whole.var["feature_type"])))
        message = (
            f"{path} has features of the types {found}, and guides are {GUIDES!r}; give the output "
            "of a run with a feature reference of guides"
        )
        raise FileError(message)
    return _features(whole, GENES), guides


def _tenx_h5(path: str | Path) -> ad.AnnData:
    file = existing(path, "10x h5 file")
    require_hdf5(file)
    try:
        with h5py.File(file, "r") as handle:
            refuse_links(handle, file)
            refuse_huge(handle, file)
            group: Any = handle["matrix"]
            shape = tuple(int(n) for n in group["shape"][:])
            parts = (group["data"][:], group["indices"][:], group["indptr"][:])
            matrix = sparse.csc_matrix(parts, shape=shape)
            matrix.check_format(full_check=True)
            barcodes = group["barcodes"].asstr()[:]
            features = group["features"]
            var = pd.DataFrame({
                "gene_id": features["id"].asstr()[:],
                "feature_type": features["feature_type"].asstr()[:],
            }, index=features["name"].asstr()[:])  # fmt: skip
            if "target_gene_name" in features:
                var["target"] = features["target_gene_name"].asstr()[:]
    except PerturbkitError:
        raise
    except FAULTS as error:
        raise damaged(file, error) from error
    return _whole(sparse.csr_matrix(matrix.T), barcodes, var)


def _tenx_folder(path: str | Path) -> ad.AnnData:
    folder = existing(path, "10x folder")
    names = {p.name.removesuffix(".gz"): p for p in folder.iterdir()}
    features = names.get("features.tsv", names.get("genes.tsv"))
    if "matrix.mtx" not in names or "barcodes.tsv" not in names or features is None:
        message = (
            f"{folder} holds {', '.join(sorted(names)[:4]) or 'nothing'}; a 10x folder holds "
            "matrix.mtx, barcodes.tsv and features.tsv: give that folder"
        )
        raise FileError(message)
    try:
        with _opened(names["matrix.mtx"]) as handle:
            matrix = sparse.csr_matrix(io.mmread(handle)).T
        barcodes = _lines(names["barcodes.tsv"])
        cells = [line.split("\t") for line in _lines(features)]
        var = pd.DataFrame({
            "gene_id": [c[0] for c in cells],
            "feature_type": [c[2] if len(c) > 2 else GENES for c in cells],
        }, index=[c[1] if len(c) > 1 else c[0] for c in cells])  # fmt: skip
    except (*FAULTS, EOFError) as error:
        reason = " ".join(str(error).split())[:160]
        message = f"{folder} is no whole 10x folder ({reason}); copy it again"
        raise FileError(message) from error
    if matrix.shape != (len(barcodes), len(var)):
        message = (
            f"{folder}: the matrix is {matrix.shape[1]:,} x {matrix.shape[0]:,}, and there are "
            f"{len(var):,} features and {len(barcodes):,} barcodes; copy it again"
        )
        raise FileError(message)
    return _whole(sparse.csr_matrix(matrix), barcodes, var)


def _whole(x_ng: sparse.csr_matrix, barcodes: Any, var: pd.DataFrame) -> ad.AnnData:
    """Return the cells with all features, names that repeat made unique by their ids."""
    twice = pd.Series(var.index + "\x1f" + var["feature_type"]).duplicated(keep=False).to_numpy()
    names = np.where(twice, var.index + "-" + var["gene_id"], var.index)
    var = var.assign(name=names)
    var.index = pd.Index([f"{t}:{n}" for t, n in zip(var["feature_type"], names, strict=True)])
    obs = pd.DataFrame(index=pd.Index([str(b) for b in barcodes], dtype=object))
    return ad.AnnData(x_ng.astype(np.float32), obs=obs, var=var)


def _features(whole: ad.AnnData, kind: str) -> ad.AnnData:
    """Return the features of one type."""
    part = whole[:, (whole.var["feature_type"] == kind).to_numpy()].copy()
    part.var_names = pd.Index(part.var.pop("name"), dtype=object)
    part.var.index.name = None
    return part


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _lines(path: Path) -> list[str]:
    with _opened(path) as handle:
        return handle.read().decode("utf-8").splitlines()
