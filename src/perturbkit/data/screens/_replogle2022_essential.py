"""Replogle 2022: essential genes in K562 and RPE1 as the LPM was published on, mean z-scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from perturbkit.core.condition import CONTROL
from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.files import existing
from perturbkit.core.screen import Screen
from perturbkit.data.screens.card import ScreenCard
from perturbkit.data.screens.published import require_column

FILES = {
    "K562": "K562_essential_normalized_singlecell_01.h5ad",
    "RPE1": "rpe1_normalized_singlecell_01.h5ad",
}
"""cell line and file; both lie in one folder"""
_ROWS = 4096
"""cells read at a time"""


class EssentialOptions(Config):
    """Which of the two cell lines to read."""

    contexts: tuple[str, ...] = tuple(FILES)


def read(path: Path | None, options: Mapping[str, Any], rng: np.random.Generator) -> Screen:
    """Average the cells of each target; the files are read a few thousand cells at a time.

    Values that are not finite (readouts without variance in a batch) count as 0, as published.
    Readouts that one line lacks are NaN there.

    Args:
        path: the K562 file; the RPE1 file lies beside it.
        options: see `EssentialOptions`.
        rng: not used.

    Raises:
        FileError: a file is missing.
        SchemaError: a file lacks `obs["gene"]` or `var["gene_name"]`, or a line is not known.
    """
    del rng
    chosen = EssentialOptions.parse(dict(options), "replogle2022_essential")
    unknown = [c for c in chosen.contexts if c not in FILES]
    if unknown or not chosen.contexts:
        message = f"contexts {unknown or '()'} are not {' or '.join(FILES)}"
        raise SchemaError(message)
    parts = []
    for context in chosen.contexts:
        file = Path(path or "").with_name(FILES[context])
        parts.append(mean_profiles(existing(file, f"file of {context}"), context))
    joined = ad.concat(parts, join="outer", fill_value=np.nan)
    return Screen.of(joined, level="profiles", unit="zscore", constants={"kind": "crispri"})


def mean_profiles(file: Path, context: str) -> ad.AnnData:
    """Return the mean of each target's cells, float32, at the memory of a few thousand cells."""
    adata = ad.read_h5ad(file, backed="r")
    try:
        labels = require_column(adata.obs, "gene", "obs", "replogle2022_essential").astype(str)
        names = require_column(adata.var, "gene_name", "var", "replogle2022_essential").astype(str)
        code, targets = pd.factorize(labels.to_numpy(), sort=True)
        total = np.zeros((len(targets), adata.n_vars), np.float64)
        for start in range(0, adata.n_obs, _ROWS):
            rows = code[start : start + _ROWS]
            x = adata.X[start : start + _ROWS]
            x = np.asarray(x.toarray() if hasattr(x, "toarray") else x, np.float64)
            np.add.at(total, rows, np.where(np.isfinite(x), x, 0))
    finally:
        adata.file.close()
    n_cells = np.bincount(code, minlength=len(targets))
    kept = ~pd.Index(names).duplicated()
    obs = pd.DataFrame({
        "perturbation": [CONTROL if t == "non-targeting" else t for t in targets],
        "context": context, "n_cells": n_cells,
    }, index=pd.Index([f"{t} | {context}" for t in targets], dtype=object))  # fmt: skip
    mean = (total / n_cells[:, None]).astype(np.float32)[:, kept]
    return ad.AnnData(mean, obs=obs, var=pd.DataFrame(index=pd.Index(names)[kept]))


card = ScreenCard(
    name="replogle2022_essential",
    summary="CRISPRi of essential genes in K562 and RPE1: mean z-scores, the data of the LPM",
    source=(
        "Replogle 2022, doi:10.1016/j.cell.2022.05.013; figshare+ files 35773075 (K562) and "
        "35775554 (RPE1), z-normalised by gem group"
    ),
    read=read,
    file=f"replogle2022/{FILES['K562']}",
    organism="Homo sapiens",
    licence="CC BY 4.0",
    url="https://doi.org/10.1016/j.cell.2022.05.013",
    download="https://plus.figshare.com/ndownloader/files/35773075",
    unit="zscore",
    holds=f"310,385 cells of K562; {FILES['RPE1']} (figshare+ file 35775554) lies beside it",
)
