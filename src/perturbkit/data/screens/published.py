"""Published files, read by the convention of whoever wrote them."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from perturbkit.core.errors import SchemaError
from perturbkit.core.screen import Screen
from perturbkit.core.units import Unit
from perturbkit.data.read.conventions import convention, translated
from perturbkit.data.read.h5ad import read_adata
from perturbkit.data.screens.card import NoOptions, Reader

TO_MICROMOLAR = {"nm": 1e-3, "um": 1.0, "µm": 1.0, "mm": 1e3}


def published(
    name: str,
    rule: str,
    *,
    unit: Unit = "counts",
    constants: Mapping[str, str] | None = None,
    adapt: Callable[[ad.AnnData, str], None] | None = None,
) -> Reader:
    """Return a card's reader of h5ad files of cells.

    Args:
        name: the card's name, for errors.
        rule: the convention of the columns, a name in `read.conventions`.
        unit: unit of X.
        constants: what is the same for all cells, such as `{"context": "K562"}`.
        adapt: what else to change in the file's data, in place, before they are read.
    """

    def read(path: Path | None, options: Mapping[str, Any], rng: np.random.Generator) -> Screen:
        del rng  # nothing is drawn
        NoOptions.parse(dict(options), name)
        adata = read_adata(path or "")
        if adapt is not None:
            adapt(adata, name)
        adata.obs = translated(adata.obs, convention(rule), None, list(map(str, adata.var_names)))
        return Screen.of(adata, level="cells", unit=unit, constants=constants)

    return read


def symbols(adata: ad.AnnData, name: str) -> None:
    """Name the genes by `var["gene_name"]`, so that targets are found; repeats keep their id.

    Raises:
        SchemaError: there is no such column.
    """
    names = require_column(adata.var, "gene_name", "var", name).astype(str)
    count = Counter(names)
    adata.var_names = pd.Index(
        [n if count[n] == 1 else str(i) for n, i in zip(names, adata.var_names, strict=True)]
    )


def micromolar(adata: ad.AnnData, name: str) -> None:
    """Bring `dose_value` to micromolar by `dose_unit`.

    Raises:
        SchemaError: a column is missing, or doses are in another unit.
    """
    doses = pd.to_numeric(require_column(adata.obs, "dose_value", "obs", name), errors="coerce")
    units = require_column(adata.obs, "dose_unit", "obs", name).astype(str).str.lower()
    factors = units.map(TO_MICROMOLAR).astype(float)
    unknown = sorted(set(units[factors.isna() & (doses > 0)]))
    if unknown:
        message = (
            f"{name}: dose_unit holds {unknown[0]!r}; doses are read in nM, uM and mM: convert them"
        )
        raise SchemaError(message)
    adata.obs["dose_value"] = doses.astype(float) * factors
    adata.obs["dose_unit"] = "uM"


def require_column(table: pd.DataFrame, column: str, where: str, name: str) -> pd.Series:
    """Return a column that the published file has.

    Raises:
        SchemaError: it is not there, so this is another file.
    """
    if column not in table.columns:
        found = ", ".join(map(str, table.columns)) or "none"
        message = (
            f"{where} has no column {column!r}, which the file of {name} has; it has {found}: give "
            f"the file that `perturbkit list screens` names"
        )
        raise SchemaError(message)
    return table[column]
