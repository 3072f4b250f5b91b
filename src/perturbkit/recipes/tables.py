"""Tables on disk: conditions in, predictions and scores out, by the suffix of the path."""

from functools import partial
from pathlib import Path

import polars as pl

from perturbkit.core.errors import FileError
from perturbkit.core.files import atomic_path, existing
from perturbkit.core.responses import Responses


def read_table(path: Path) -> pl.DataFrame:
    """Read a CSV, TSV or Parquet table.

    Raises:
        FileError: missing, another suffix, or not such a table.
    """
    file = existing(path, "table")
    try:
        if file.suffix == ".parquet":
            return pl.read_parquet(file)
        if file.suffix in (".csv", ".tsv"):
            return pl.read_csv(file, separator="\t" if file.suffix == ".tsv" else ",")
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        message = f"{file} is not a readable table ({error}); save it again"
        raise FileError(message) from error
    message = f"{file} is not a .csv, .tsv or .parquet table; save it as one of these"
    raise FileError(message)


def write_responses(responses: Responses, path: Path, level: float | None = None) -> None:
    """Write predictions by the suffix of `path`, atomically.

    A .parquet file holds every member; a table holds a row for each condition and a column for
    each readout or, with a `level`, a row for each value with the columns value, low and high.

    Raises:
        SchemaError: intervals of this level were not calibrated.
    """
    if path.suffix == ".parquet" and level is None:
        responses.save(path)
        return
    separator = "\t" if path.suffix == ".tsv" else ","
    if level is None:
        with atomic_path(path) as temporary:
            responses.wide().write_csv(temporary, separator=separator)
        return
    table = long_table(responses, level)
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            table.write_parquet(temporary)
        else:
            table.write_csv(temporary, separator=separator)


def long_table(responses: Responses, level: float) -> pl.DataFrame:
    """Return a row for each condition and readout, with value and the interval of `level`.

    Raises:
        SchemaError: intervals of this level were not calibrated.
    """
    low, high = responses.interval(level)
    n_conditions, n_readouts = low.shape
    index = pl.Series("row", range(n_conditions), dtype=pl.UInt32)
    rows = responses.conditions.insert_column(0, index)
    values = pl.DataFrame({
        "row": index.to_numpy().repeat(n_readouts),
        "readout": list(responses.readouts) * n_conditions,
        "value": responses.mean_cg.ravel(), "low": low.ravel(), "high": high.ravel(),
    })  # fmt: skip
    return rows.join(values, on="row", maintain_order="left").drop("row")


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table by the suffix of `path`, .csv or .parquet, atomically."""
    if path.suffix not in (".csv", ".parquet"):
        message = f"cannot write {path}: the table is written as .csv or .parquet"
        raise FileError(message)
    write = partial(pl.DataFrame.write_parquet if path.suffix == ".parquet" else
                    pl.DataFrame.write_csv, table)  # fmt: skip
    with atomic_path(path) as temporary:
        write(temporary)
