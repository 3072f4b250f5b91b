"""Text and Parquet tables: GCT, matrices, long tables (perturbation, readout, context, value)."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import CONDITION_SCHEMA, complete_table, condition_keys
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import atomic_path, existing
from perturbkit.core.responses import Responses

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
LONG = ("perturbation", "readout", "value")
ROW_COLUMNS = {*CONDITION_SCHEMA, "batch", "n_cells"}
MAGECK = ("id", "neg|lfc", "pos|lfc")
MAX_LONG_VALUES = 500_000_000


def read_table(path: str | Path) -> pl.DataFrame:
    """Read a CSV, TSV or Parquet table; a final `.gz` is unpacked.

    Raises:
        FileError: missing, empty, cut short, or of another format.
    """
    file = existing(path, "table")
    suffixes = [s for s in file.suffixes if s != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in SUFFIXES:
        message = f"{file} is no table that is read here; give one of {', '.join(SUFFIXES)}"
        raise FileError(message)
    try:
        if suffix == ".parquet":
            return pl.read_parquet(file)
        separator = "," if suffix == ".csv" else "\t"
        return pl.read_csv(file, separator=separator, infer_schema_length=10_000)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        message = f"{file} cannot be read as a table ({reason}); check the file"
        raise FileError(message) from error


def read_profiles(path: str | Path) -> ad.AnnData:
    """Read a table of profiles: long, a MAGeCK gene summary, or a matrix.

    A long table has the columns perturbation, readout and value (and context, dose_um, ...). In a
    matrix each row is a profile; text columns and those of conditions go to `obs`, the other
    numbers are readouts.

    Raises:
        FileError: not a table.
        SchemaError: neither kind, or without numbers.
    """
    table = read_table(path)
    if set(LONG) <= set(table.columns):
        return from_long(table)
    if set(MAGECK) <= set(table.columns):
        return from_mageck(table)
    if "perturbation" not in table.columns:
        message = (
            f"{path} has the columns {', '.join(table.columns[:6])} ...; a table of profiles needs "
            "'perturbation': rename the column that holds it"
        )
        raise SchemaError(message)
    numbers = [n for n, t in table.schema.items() if t.is_numeric() and n not in ROW_COLUMNS]
    if not numbers:
        message = (
            f"{path} has no column of numbers besides those of conditions; readouts are numbers"
        )
        raise SchemaError(message)
    obs = _frame(table.select(pl.exclude(numbers)))
    x_ng = table.select(numbers).cast(pl.Float32).fill_null(np.nan).to_numpy()
    return ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=pd.Index(numbers, dtype=object)))


def from_long(table: pl.DataFrame) -> ad.AnnData:
    """Return a long table as profiles by readouts; what has no row is NaN, repeats are averaged.

    Raises:
        SchemaError: values are no numbers, or the profiles would not fit.
    """
    table = complete_table(table)
    if not table.schema["value"].is_numeric():
        message = f"the column value holds {table.schema['value']}; values are numbers"
        raise SchemaError(message)
    if table["readout"].null_count() or table["perturbation"].null_count():
        message = "rows without a perturbation or a readout; name them, or leave them out"
        raise SchemaError(message)
    conditions = table.select(*CONDITION_SCHEMA).unique(maintain_order=True)
    coded = conditions.with_row_index("condition_code")
    joined = table.join(coded, on=list(CONDITION_SCHEMA), how="left", nulls_equal=True,
                        maintain_order="left")  # fmt: skip
    readouts = joined["readout"].cast(pl.String).unique(maintain_order=True)
    if conditions.height * readouts.len() > MAX_LONG_VALUES:
        message = (
            f"{conditions.height:,} conditions x {readouts.len():,} readouts are too many for one "
            "table in memory; split it by context"
        )
        raise SchemaError(message)
    place = {name: i for i, name in enumerate(readouts)}
    g = joined["readout"].cast(pl.String).replace_strict(place, return_dtype=pl.Int64).to_numpy()
    c = joined["condition_code"].to_numpy().astype(np.int64)
    value = joined["value"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    kept = ~np.isnan(value)
    flat = c[kept] * len(place) + g[kept]
    size = conditions.height * len(place)
    times = np.bincount(flat, minlength=size)
    total = np.bincount(flat, value[kept], size)
    mean = np.divide(total, times, out=np.full(size, np.nan), where=times > 0)
    obs = _frame(conditions)
    obs.index = pd.Index(condition_keys(conditions), dtype=object)
    var = pd.DataFrame(index=pd.Index(list(readouts), dtype=object))
    return ad.AnnData(mean.reshape(conditions.height, -1).astype(np.float32), obs=obs, var=var)


def write_long(responses: Responses, path: str | Path) -> None:
    """Write responses as a long Parquet table: conditions, readout, value; NaN is left out."""
    c, g = responses.mean_cg.shape
    table = responses.conditions.select(*CONDITION_SCHEMA)[np.repeat(np.arange(c), g)]
    names = pl.Series("readout", list(responses.readouts)).gather(np.tile(np.arange(g), c))
    value = pl.Series("value", responses.mean_cg.ravel())
    long = table.with_columns(names, value).filter(~pl.col("value").is_nan())
    with atomic_path(path) as temporary:
        long.write_parquet(temporary)


def from_mageck(table: pl.DataFrame) -> ad.AnnData:
    """Return a MAGeCK gene summary as profiles of one readout each: the log2 fold change."""
    obs = pd.DataFrame({"perturbation": table["id"].cast(pl.String).to_list()})
    obs.index = obs.index.astype(str)
    x_ng = table.select(pl.col("neg|lfc").cast(pl.Float32)).to_numpy()
    return ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=["log2fc"]))


def read_gct(path: str | Path) -> ad.AnnData:
    """Read a GCT 1.2 or 1.3 text file: its columns are the profiles, its rows the readouts.

    Raises:
        FileError: missing, another format, cut short, or text where numbers belong.
    """
    file = existing(path, "GCT file")
    try:
        with file.open(encoding="utf-8") as handle:
            version = handle.readline().strip()
            sizes = [int(n) for n in handle.readline().split()]
            cells = [line.rstrip("\r\n").split("\t") for line in handle]
        if version not in ("#1.2", "#1.3"):
            message = f"{file} begins with {version[:20]!r}, and GCT with #1.2 or #1.3"
            raise FileError(message)
        n_row, n_column = sizes[:2]
        n_var, n_obs = (sizes[2], sizes[3]) if version == "#1.3" else (1, 0)
        header, notes, body = cells[0], cells[1 : 1 + n_obs], cells[1 + n_obs :]
        first = 1 + n_var
        if len(body) != n_row or any(len(r) != first + n_column for r in body):
            message = f"{file} says {n_row} x {n_column}, and holds {len(body)} rows; copy it again"
            raise FileError(message)
        numbers = np.array([[_number(v) for v in r[first:]] for r in body], np.float32)
    except (ValueError, IndexError, OSError) as error:
        if isinstance(error, FileError):
            raise
        message = f"{file} is no whole GCT file ({error}); copy it again"
        raise FileError(message) from error
    obs = pd.DataFrame({n[0]: n[first:] for n in notes}, index=header[first:])
    var = pd.DataFrame(
        {header[i + 1]: [r[i + 1] for r in body] for i in range(n_var)}, index=[r[0] for r in body]
    )
    return ad.AnnData(numbers.reshape(n_row, n_column).T.copy(), obs=obs, var=var)


def _number(text: str) -> float:
    return np.nan if text.strip().casefold() in ("", "na", "nan", "null") else float(text)


def _frame(table: pl.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame({name: table[name].to_list() for name in table.columns})
    frame.index = pd.Index([str(i) for i in range(len(frame))], dtype=object)
    return frame
