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


def write_responses(responses: Responses, path: Path) -> None:
    """Write predictions by the suffix of `path`, atomically."""
    if path.suffix == ".parquet":
        responses.save(path)
        return
    with atomic_path(path) as temporary:
        responses.wide().write_csv(temporary, separator="\t" if path.suffix == ".tsv" else ",")


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table by the suffix of `path`, .csv or .parquet, atomically."""
    if path.suffix not in (".csv", ".parquet"):
        message = f"cannot write {path}: the table is written as .csv or .parquet"
        raise FileError(message)
    write = partial(pl.DataFrame.write_parquet if path.suffix == ".parquet" else
                    pl.DataFrame.write_csv, table)  # fmt: skip
    with atomic_path(path) as temporary:
        write(temporary)
