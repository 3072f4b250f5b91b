"""Text and Parquet tables: GCT, matrices, long tables (perturbation, readout, context, value)."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import CONDITION_SCHEMA, complete_table, condition_keys
from perturbkit.core.errors import FileError, SchemaError, unknown_name
from perturbkit.core.files import atomic_path, existing
from perturbkit.core.responses import Responses
from perturbkit.data.read.contrasts import (
    from_mageck,
    is_contrasts,
    is_mageck,
    long_contrasts,
)

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
LONG = ("perturbation", "readout", "value")
ROW_COLUMNS = {*CONDITION_SCHEMA, "batch", "n_cells"}
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
        table = pl.read_csv(file, separator=_separator(file, suffix), infer_schema_length=10_000)
        return table.rename({n: n.strip("\ufeff ") for n in table.columns})
    except (pl.exceptions.PolarsError, OSError, ValueError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())[:160]
        message = f"{file} cannot be read as a table ({reason}); check the file"
        raise FileError(message) from error


def _separator(file: Path, suffix: str) -> str:
    """Return what the name of the file promises, or else what its first line holds."""
    promised = "," if suffix == ".csv" else "\t"
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rb") as handle:
        head = handle.readline(1_000_000).decode("utf-8", "replace")
    return promised if promised in head else max(",\t;", key=head.count)


@dataclass(frozen=True)
class TableOptions:
    """What the user knows of a table."""

    perturbation: str = "perturbation"
    """column that says what each row's perturbation is"""
    label: str | None = None
    """the perturbation of a table of one contrast"""
    value: str | None = None
    """the one column of numbers to read"""


PLAIN = TableOptions()


def read_profiles(path: str | Path, options: TableOptions = PLAIN) -> ad.AnnData:
    """Read a table of profiles: long, of differential expression, of MAGeCK, or a matrix.

    A long table has the columns perturbation, readout and value (and context, dose_um, ...); one
    of differential expression a fold change for each gene. In a matrix each row is a profile; text
    columns and those of conditions go to `obs`, the other numbers are readouts.

    Raises:
        FileError: not a table.
        SchemaError: none of these, or without numbers.
    """
    table = read_table(path)
    named = options.perturbation
    if named in table.columns and named != "perturbation":
        table = table.rename({named: "perturbation"})
    if options.value is not None:
        return _one_readout(table, options.value, path)
    if set(LONG) <= set(table.columns):
        return from_long(table)
    if is_mageck(table):
        return from_mageck(table)
    if is_contrasts(table):
        return _from_contrasts(table, options.label)
    if "perturbation" not in table.columns:
        message = (
            f"{path} has the columns {', '.join(map(repr, table.columns[:6]))} ...; a table of "
            "profiles needs 'perturbation': --set perturbation=COLUMN names the one that holds it"
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


def _one_readout(table: pl.DataFrame, value: str, path: str | Path) -> ad.AnnData:
    for column in ("perturbation", value):
        if column not in table.columns:
            raise SchemaError(f"{path}: {unknown_name('column', column, table.columns)}")
    if not table.schema[value].is_numeric():
        message = (
            f"{path}: the column {value!r} holds {table.schema[value]}, and values are numbers"
        )
        raise SchemaError(message)
    numbers = [n for n, t in table.schema.items() if t.is_numeric() and n not in ROW_COLUMNS]
    obs = _frame(table.select(pl.exclude(numbers)))
    x_ng = table.select(pl.col(value).cast(pl.Float32).fill_null(np.nan)).to_numpy()
    return ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=[value]))


def _from_contrasts(table: pl.DataFrame, label: str | None) -> ad.AnnData:
    """Return fold changes as profiles, what is said beside them as layers."""
    found = {name: from_long(long) for name, long in long_contrasts(table, label).items()}
    profiles = found.pop("value")
    for name, other in found.items():
        profiles.layers[name] = other.X
    return profiles


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


def as_long(responses: Responses) -> pl.DataFrame:
    """Return responses as a long table: conditions, readout, value; NaN is left out."""
    c, g = responses.mean_cg.shape
    table = responses.conditions.select(*CONDITION_SCHEMA)[np.repeat(np.arange(c), g)]
    names = pl.Series("readout", list(responses.readouts)).gather(np.tile(np.arange(g), c))
    value = pl.Series("value", responses.mean_cg.ravel())
    return table.with_columns(names, value).filter(~pl.col("value").is_nan())


def write_long(responses: Responses, path: str | Path) -> None:
    """Write responses as a long Parquet table; see `as_long`."""
    with atomic_path(path) as temporary:
        as_long(responses).write_parquet(temporary)


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
