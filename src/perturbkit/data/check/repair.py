"""Mending what the doctor found: the same cells as a Screen that opens without options."""

import re
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.core.screen import Screen
from perturbkit.core.units import UNITS
from perturbkit.data.check.genes import PREFIX, VERSION, gene_of_date
from perturbkit.data.check.labels import Reading
from perturbkit.data.profiles import nan_means
from perturbkit.data.read.conventions import Convention
from perturbkit.data.read.h5ad import STAMP


def mended(adata: ad.AnnData, reading: Reading, unit: str, symbols: str | None) -> Screen:
    """Return the Screen without the faults that can be mended.

    Args:
        adata: the file, in memory.
        reading: its labels.
        unit: the unit of the values.
        symbols: column of `var` to take the names of the readouts from.

    Raises:
        SchemaError: no labels, no control, or nothing left.
        UnitError: values that cannot be in `unit`.
    """
    rule = _require_known(reading, unit)
    obs = reading.obs
    if reading.guides and "guide" not in obs.columns:
        obs = obs.assign(guide=reading.labels)
    keep_n = adata.obs_names.isin(obs.index) if adata.obs_names.is_unique else np.asarray(
        ~adata.obs[rule.perturbation].isna())  # fmt: skip
    x_ng = sparse.csr_matrix(adata.X)
    x_ng.sum_duplicates()
    finite_n = np.ones(x_ng.shape[0], bool)
    bad = np.repeat(np.arange(x_ng.shape[0]), np.diff(x_ng.indptr))[~np.isfinite(x_ng.data)]
    finite_n[bad] = False
    x_ng.eliminate_zeros()
    keep_n = keep_n & finite_n & (np.diff(x_ng.indptr) > 0)
    if not keep_n.any():
        message = "no row is left: all are empty, unlabelled or not finite; nothing to mend"
        raise SchemaError(message)
    kept_labels = adata.obs_names[keep_n]
    obs = (
        obs.loc[kept_labels]
        if adata.obs_names.is_unique
        else obs[keep_n[_labelled(adata, reading)]]
    )
    names = adata.var_names if symbols is None else adata.var[symbols].astype(str)
    x_ng, var = merged_readouts(x_ng[keep_n], [renamed(str(n)) for n in names], adata.var, unit)
    obs = obs.set_axis(_unique_names(obs.index), axis=0)
    uns = {k: v for k, v in adata.uns.items() if k == STAMP}
    clean = ad.AnnData(_narrow(x_ng), obs=_plain_columns(obs), var=var, uns=uns)
    return Screen.of(clean, level="cells", unit=unit)  # pyright: ignore[reportArgumentType]


def mended_profiles(adata: ad.AnnData, reading: Reading, unit: str, symbols: str | None) -> Screen:
    """Return profiles as a Screen: labels and names in order, readouts of one name averaged.

    Args:
        adata: the file, in memory.
        reading: its labels.
        unit: the unit of the values.
        symbols: column of `var` to take the names of the readouts from.

    Raises:
        SchemaError: no labels.
        UnitError: values that cannot be in `unit`.
    """
    rule = _require_known(reading, unit)
    keep_n = np.asarray(~adata.obs[rule.perturbation].isna())
    names = adata.var_names if symbols is None else adata.var[symbols].astype(str)
    codes, distinct = pd.factorize(np.array([renamed(str(n)) for n in names], object))
    x_ng = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    x_ng = x_ng[keep_n].astype(np.float32)
    x_ng[np.isinf(x_ng)] = np.nan
    if distinct.size < codes.size:
        x_ng = nan_means(np.ascontiguousarray(x_ng.T), codes, distinct.size).T
    obs = reading.obs.set_axis(_unique_names(reading.obs.index), axis=0)
    var = pd.DataFrame(index=pd.Index([str(n) for n in distinct], dtype=object))
    clean = ad.AnnData(np.ascontiguousarray(x_ng), obs=_plain_columns(obs), var=var)
    return Screen.of(clean, level="profiles", unit=unit)  # pyright: ignore[reportArgumentType]


def _require_known(reading: Reading, unit: str) -> Convention:
    if reading.rule is None:
        message = "no column of obs is known to hold perturbations; name it: --set perturbation=..."
        raise SchemaError(message)
    if unit not in UNITS:
        message = f"--fix needs the unit of the values; state --unit with one of {', '.join(UNITS)}"
        raise SchemaError(message)
    return reading.rule


def _labelled(adata: ad.AnnData, reading: Reading) -> np.ndarray:
    rule: Any = reading.rule
    return np.flatnonzero(~adata.obs[rule.perturbation].isna())


def renamed(name: str) -> str:
    """Return a readout's name without version, genome prefix, or spreadsheet date."""
    name = PREFIX.sub("", name)
    version = VERSION.match(name)
    if version:
        return version[1]
    return gene_of_date(name) or name


def merged_readouts(
    x_ng: sparse.csr_matrix, names: list[str], var: pd.DataFrame, unit: str
) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    """Return columns of one name as one: counts are added up, other units averaged.

    Columns that are zero everywhere are left out.
    """
    codes, distinct = pd.factorize(np.asarray(names, object))
    times = np.bincount(codes)
    weight = np.ones(codes.size) if unit == "counts" else 1.0 / times[codes]
    gather = sparse.csr_matrix((weight, (np.arange(codes.size), codes)))
    if times.max() > 1:
        x_ng = sparse.csr_matrix((x_ng @ gather).astype(x_ng.dtype))
    first = pd.Series(np.arange(codes.size)).groupby(codes).first().to_numpy()
    var = var.iloc[first].copy()
    var.index = pd.Index([str(n) for n in distinct], dtype=object)
    var["original_name"] = [str(names[i]) for i in first]
    filled = np.asarray((x_ng != 0).sum(0)).ravel() > 0
    if not filled.any():
        message = "every readout is zero in every row; there is nothing to mend"
        raise SchemaError(message)
    return sparse.csr_matrix(x_ng[:, filled]), var[filled]


def _unique_names(names: pd.Index) -> list[str]:
    if names.is_unique:
        return [str(n) for n in names]
    seen: dict[str, int] = {}
    out = []
    for name in map(str, names):
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return out


def _narrow(x_ng: sparse.csr_matrix) -> sparse.csr_matrix:
    x_ng.sort_indices()
    return x_ng.astype(np.float32)


def _plain_columns(obs: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that a file can hold; names with '/' are changed."""
    out = {}
    for name, column in obs.items():
        key = re.sub(r"/", "_", str(name))
        simple = isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind in "biufO"
        if simple:
            out[key] = column.astype(str) if column.dtype.kind == "O" else column
    return pd.DataFrame(out, index=obs.index)
