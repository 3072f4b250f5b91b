"""One side of a comparison: anyone's file, or a screen by name, as cells or as means."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse

from perturbkit.core.condition import CONDITION_SCHEMA, CONTROL
from perturbkit.core.config import Config
from perturbkit.core.errors import FileError, SchemaError, unknown_name
from perturbkit.core.files import existing
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.core.units import UNITS
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.profiles import responses_of
from perturbkit.data.read.h5ad import STAMP, read_adata
from perturbkit.data.screens import open_screen
from perturbkit.metrics.vcc import log_normalized, read_submission, whole_counts

PERTURBATION_COLUMNS = ("perturbation", "target_gene", "target", "condition", "gene",
                        "guide_identity", "drug", "treatment")  # fmt: skip
CONTROL_LABELS = (CONTROL, "non-targeting", "ctrl", "NTC", "NT", "non_targeting", "DMSO", "vehicle")
CONTEXT_COLUMNS = ("context", "cell_type", "celltype", "cell_line")
NO_CONTEXT = "default"
"""what a condition says that names no context"""
TOTAL = 1e4
"""What counts are normalized to, on both sides alike."""


class ForeignOptions(Config):
    """How to read the two files; what is not stated is looked for under the usual names."""

    perturbation: str | None = None
    """column with each row's perturbation"""
    control: str | None = None
    """label of the controls"""
    context: str | None = None
    """column with the context"""
    unit: Literal["log1p_cp10k", "log2fc", "zscore", "signed_rank", "score"] = "log1p_cp10k"
    """unit of means; cells are counts or log-normalized"""
    profile: Literal[
        "full", "vcc", "minimal", "vcc2026", "distribution", "perturbench", "state"
    ] = "full"
    """which metrics of cells"""
    compat: Literal["perturbkit", "cell-eval"] = "perturbkit"
    """whose rules"""


def read_side(
    path: str | Path,
    options: ForeignOptions,
    whose: str,
    *,
    controls: Screen | Responses | None = None,
) -> Screen | Responses:
    """Read one file: cells become a Screen, means become Responses.

    Args:
        path: the file, or the name of a screen.
        options: how to read it.
        whose: "truth" or "predictions", for errors.
        controls: measured cells whose controls stand beside predicted cells that have none.

    Raises:
        FileError: missing, damaged, or a format that is not read.
        UnknownNameError: neither a file nor a screen.
        SchemaError: a column or a control label cannot be found.
    """
    if not Path(path).suffix and not Path(path).exists():
        screen = open_screen(str(path))
        if screen.level == "profiles":
            return responses_of(screen)
        return _of_adata(screen.adata, options, Path(str(path)), controls)
    file = existing(path, whose)
    if file.name.endswith(".vcc"):
        return _of_adata(read_submission(file), options, file, controls)
    if file.suffix == ".h5ad":
        return _of_adata(read_adata(file), options, file, controls)
    if file.suffix == ".parquet":
        metadata = _attempt(pl.read_parquet_metadata, file)
        if "perturbkit" in metadata:
            return Responses.load(file)
        return _of_table(_attempt(pl.read_parquet, file), options, file)
    if file.suffix in (".csv", ".tsv"):
        separator = "\t" if file.suffix == ".tsv" else ","
        return _of_table(_attempt(pl.read_csv, file, separator=separator), options, file)
    message = (
        f"{file} has the ending {file.suffix!r}; {whose} are read from .h5ad, .vcc, .csv, .tsv or "
        ".parquet"
    )
    raise FileError(message)


def _attempt(reader: Any, file: Path, **options: Any) -> Any:
    try:
        return reader(file, **options)
    except (pl.exceptions.PolarsError, OSError) as error:
        message = f"{file} cannot be read ({error}); write it again"
        raise FileError(message) from error


def _of_adata(
    adata: ad.AnnData, options: ForeignOptions, file: Path, controls: Screen | Responses | None
) -> Screen | Responses:
    """Cells, or means where no condition has a second row."""
    column = _find(options.perturbation, PERTURBATION_COLUMNS, list(adata.obs.columns), file)
    label = _control(options.control, adata.obs[column].astype(str).unique().tolist(), file)
    adata.obs["perturbation"] = adata.obs[column].astype(str).replace({label: CONTROL})
    columns = {}
    context = options.context or next((c for c in CONTEXT_COLUMNS if c in adata.obs), None)
    if context:
        columns["context"] = _find(context, (), list(adata.obs.columns), file)
    stamp = adata.uns.get(STAMP)
    stated = isinstance(stamp, dict) and stamp.get("level") == "profiles"
    by = ["perturbation", *columns.values()]
    bare = CONTROL not in set(adata.obs["perturbation"])
    if stated or not adata.obs.duplicated(by).any():
        unit = str(stamp["unit"]) if stated and isinstance(stamp, dict) else options.unit
        screen = Screen.of(adata, level="profiles", unit=unit, columns=columns)  # pyright: ignore
        return responses_of(screen)
    matrix = sparse.csr_matrix(adata.X, dtype=np.float32)
    unit = "counts" if options.profile == "vcc2026" else "log1p_cp10k"
    if unit == "counts":
        adata.X = whole_counts(matrix, file.name)
    else:
        total = None if options.compat == "cell-eval" else TOTAL
        adata.X = log_normalized(matrix, file.name, total)
    if bare and isinstance(controls, Screen):
        adata = _with_controls(adata, controls, columns.get("context"), file)
    return Screen.of(adata, level="cells", unit=unit, columns=columns)


def _with_controls(
    adata: ad.AnnData, measured: Screen, context: str | None, file: Path
) -> ad.AnnData:
    """Put the measured control cells beside predictions that have none."""
    shared = [g for g in adata.var_names if g in measured.readouts]
    if not shared:
        message = f"{file.name} and truth have no gene in common; map gene names to one kind first"
        raise SchemaError(message)
    own = measured.adata[(measured.adata.obs["perturbation"] == CONTROL).to_numpy()][:, shared]
    obs = own.obs[["perturbation"]].astype(str)
    if context:
        obs[context] = own.obs["context"].astype(str)
    obs.index = [f"measured control {i}" for i in range(len(obs))]
    matrix = sparse.vstack([adata[:, shared].X, sparse.csr_matrix(own.X)], format="csr")
    if context and list(measured.contexts) == [NO_CONTEXT] and adata.obs[context].nunique() == 1:
        obs[context] = str(adata.obs[context].iloc[0])
    columns = ["perturbation", *([context] if context else [])]
    both = pd.concat([adata.obs[columns].astype(str), obs])
    return ad.AnnData(matrix, obs=both, var=pd.DataFrame(index=pd.Index(shared)))


def _of_table(table: pl.DataFrame, options: ForeignOptions, file: Path) -> Responses:
    """Means by condition: columns of the condition, then a column per readout."""
    column = _find(options.perturbation, PERTURBATION_COLUMNS, table.columns, file)
    labels = table[column].cast(pl.String).to_list()
    known = options.control or next((c for c in CONTROL_LABELS if c in labels), CONTROL)
    table = table.rename({column: "perturbation"}) if column != "perturbation" else table
    context = options.context or next((c for c in CONTEXT_COLUMNS if c in table.columns), None)
    if context and context != "context":
        table = table.rename({context: "context"})
    table = table.with_columns(pl.col("perturbation").cast(pl.String).replace({known: CONTROL}))
    about = [c for c in (*CONDITION_SCHEMA, "n_cells", "status") if c in table.columns]
    readouts = [c for c in table.columns if c not in about]
    bad = [c for c in readouts if not table[c].dtype.is_numeric()]
    if bad or not readouts:
        message = (
            f"{file.name}: column {bad[0]!r} holds text" if bad else f"{file.name} has no readout"
        )
        message += "; besides the condition's columns every column is a readout of numbers"
        raise SchemaError(message)
    if options.unit not in UNITS:
        raise unknown_name("unit", options.unit, UNITS)
    values = table.select(readouts).cast(pl.Float32).to_numpy()
    return Responses(
        values[None], table.select(about), Vocabulary(readouts, "readout"), options.unit
    )


def _find(stated: str | None, usual: tuple[str, ...], columns: list[str], file: Path) -> str:
    """Name of the column stated, or the first usual one there is."""
    if stated:
        if stated not in columns:
            raise SchemaError(f"{file.name}: {unknown_name('column', stated, columns)}")
        return stated
    for name in usual:
        if name in columns:
            return name
    message = (
        f"{file.name} has the columns {', '.join(map(str, columns[:12])) or 'none'}, none of which "
        f"is {' or '.join(usual[:3])}; state --perturbation with the one that says what was done"
    )
    raise SchemaError(message)


def _control(stated: str | None, labels: list[str], file: Path) -> str:
    """Label of the controls: the one stated, or the first usual one there is."""
    if stated:
        if stated not in labels:
            raise SchemaError(f"{file.name}: {unknown_name('control label', stated, labels)}")
        return stated
    return next((c for c in CONTROL_LABELS if c in labels), CONTROL)


def in_one_context(
    measured: Screen | Responses, offered: Screen | Responses
) -> tuple[Screen | Responses, Screen | Responses]:
    """Give a side that names no context the other's, where that has exactly one."""
    sides = [measured, offered]
    named = [_contexts(side) for side in sides]
    for mine, other in ((0, 1), (1, 0)):
        if named[mine] == {NO_CONTEXT} != named[other] and len(named[other]) == 1:
            sides[mine] = _moved(sides[mine], next(iter(named[other])))
    return sides[0], sides[1]


def _contexts(side: Screen | Responses) -> set[str]:
    return set(map(str, side.contexts))


def _moved(side: Screen | Responses, context: str) -> Screen | Responses:
    if isinstance(side, Screen):
        constants = {"context": context}
        return Screen.of(side.adata, level=side.level, unit=side.unit, constants=constants)
    return replace(side, conditions=side.conditions.with_columns(context=pl.lit(context)))
