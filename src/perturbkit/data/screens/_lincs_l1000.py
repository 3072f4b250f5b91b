"""LINCS L1000: signatures of compounds in many cell lines, z-scores of the landmark genes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import Condition
from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.files import existing
from perturbkit.core.screen import Screen
from perturbkit.data.read.gctx import read_gctx
from perturbkit.data.read.tables import read_table
from perturbkit.data.screens.card import ScreenCard

SIGNATURES, GENES = "siginfo_beta.txt", "geneinfo_beta.txt"
ABOUT = ("sig_id", "cmap_name", "cell_iname", "pert_dose", "pert_dose_unit", "pert_time", "is_hiq")


class LincsOptions(Config):
    """Which of the signatures to read."""

    contexts: tuple[str, ...] = ()
    """cell lines; by default all, which needs gigabytes of memory"""
    dose_um: float | None = None
    """only this dose, in micromolar"""
    time_h: float | None = None
    """only this time, in hours"""


def read(path: Path | None, options: Mapping[str, Any], rng: np.random.Generator) -> Screen:
    """Read the good signatures (`is_hiq`) and landmark genes, with the two tables beside the file.

    Raises:
        FileError: the GCTX file or a table is missing or damaged.
        SchemaError: a table has other columns, or nothing is left.
        ConfigError: an unknown option.
    """
    del rng  # nothing is drawn
    chosen, file = LincsOptions.parse(dict(options), "lincs_l1000"), existing(path or "", "GCTX")
    genes = _table(file.with_name(GENES), ("gene_id", "gene_symbol", "feature_space"))
    genes = genes.filter(pl.col("feature_space") == "landmark")
    about = _table(file.with_name(SIGNATURES), ABOUT).filter(
        (pl.col("is_hiq").cast(pl.Float64, strict=False) == 1) & pl.col("cmap_name").is_not_null()
    )
    dose, unit = pl.col("pert_dose").cast(pl.Float64, strict=False), pl.col("pert_dose_unit")
    about = about.with_columns(
        dose_um=pl.when((unit == "nM") & (dose >= 0))
        .then(dose / 1000)
        .when((unit == "uM") & (dose >= 0))
        .then(dose),
        time_h=pl.col("pert_time").cast(pl.Float64, strict=False),
    )
    if chosen.contexts:
        about = about.filter(pl.col("cell_iname").is_in(chosen.contexts))
    for name in ("dose_um", "time_h"):
        if getattr(chosen, name) is not None:
            about = about.filter((pl.col(name) - getattr(chosen, name)).abs() < 1e-6)
    if not about.height:
        message = f"no good signature of {file.name} is left; choose other contexts, dose or time"
        raise SchemaError(message)
    adata = read_gctx(
        file,
        profiles=about["sig_id"].cast(pl.String).to_list(),
        readouts=genes["gene_id"].cast(pl.String).to_list(),
    )
    adata.var_names = pd.Index(genes["gene_symbol"].cast(pl.String).to_list())
    names = [Condition(targets=(str(n),)).perturbation for n in about["cmap_name"]]
    adata.obs["perturbation"] = names
    adata.obs["context"] = about["cell_iname"].cast(pl.String).to_list()
    for name in ("dose_um", "time_h"):
        adata.obs[name] = about[name].to_numpy()
    return Screen.of(adata, level="profiles", unit="zscore", constants={"kind": "drug"})


def _table(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    table = read_table(existing(path, "table beside the GCTX file"))
    missing = [c for c in columns if c not in table.columns]
    if missing:
        message = (
            f"{path} lacks {', '.join(missing)}; it has {', '.join(table.columns)}: take the table "
            "of LINCS2020"
        )
        raise SchemaError(message)
    return table


card = ScreenCard(
    name="lincs_l1000",
    summary="L1000 signatures of compounds in many cell lines: z-scores of 978 landmark genes",
    source="LINCS 2020 level 5 (Subramanian 2017), good signatures only; replicates are averaged",
    read=read,
    file="lincs_l1000/level5_beta_trt_cp_n720216x12328.gctx",
    organism="Homo sapiens",
    licence="as clue.io states",
    url="https://clue.io",
    download="https://s3.amazonaws.com/macchiato.clue.io/builds/LINCS2020/level5/"
    "level5_beta_trt_cp_n720216x12328.gctx",
    unit="zscore",
    holds=f"720,216 signatures; {SIGNATURES} and {GENES} of the same build lie beside it",
)
