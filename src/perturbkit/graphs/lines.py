"""Delimited text, plain or gzip, in blocks of whole lines: small memory, every fault named."""

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import existing

BLOCK = 1 << 25
"""Bytes of text parsed at a time."""
MAX_RATIO = 100
"""Tables of genes shrink 4 to 30 times by gzip; what grows more than this is a bomb."""
FREE_BYTES = 1 << 26
"""Text of this length is read whatever its ratio."""
MAX_LINE = 1 << 24
"""A longer line is no line of a table."""


@dataclass(frozen=True)
class Layout:
    """How a table is written."""

    separator: str = "\t"
    """what stands between values"""
    names: tuple[str, ...] = ()
    """names of the columns where the file has no header; empty: the first line names them"""
    quote: str | None = None
    """what values may be wrapped in"""
    comment: str = ""
    """lines at the top that begin with this are skipped, save a header after them"""
    where: str = ""
    """where to get a right file, for error messages"""


@dataclass
class _Reading:
    """Where in a file the reader is."""

    path: Path
    layout: Layout
    columns: list[str] = field(default_factory=list)
    line: int = 1
    """number of the first line of the next block"""


def blocks(path: str | Path, size: int = BLOCK) -> Iterator[bytes]:
    """Yield the text of a file, plain or gzip, in blocks of whole lines.

    Args:
        path: the file; gzip is recognised by its content.
        size: bytes read at a time.

    Raises:
        FileError: missing, empty, cut short, not gzip though named so, a zip archive, a line
            without end, or a decompression bomb.
    """
    path = existing(path)
    if path.is_dir():
        message = f"{path} is a folder; name the file in it"
        raise FileError(message)
    with path.open("rb") as raw:
        yield from _whole_lines(_opened(raw, path), path, size)


def _opened(raw: BinaryIO, path: Path) -> Any:
    head = raw.read(4)
    raw.seek(0)
    if head[:2] == b"PK":
        message = f"{path} is a zip archive; unpack it and name the table inside"
        raise FileError(message)
    if head[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw)
    if path.suffix == ".gz":
        message = f"{path} is named .gz and is not gzip; it may be an error page: download it again"
        raise FileError(message)
    return raw


def _whole_lines(stream: Any, path: Path, size: int) -> Iterator[bytes]:
    limit = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
    pending: list[bytes] = []
    total = waiting = 0
    while chunk := _chunk(stream, path, size):
        total += len(chunk)
        if total > limit:
            message = (
                f"{path} has {path.stat().st_size:,} bytes and unpacks to more than "
                f"{limit:,}; no table does: the file is damaged or hostile"
            )
            raise FileError(message)
        cut = chunk.rfind(b"\n") + 1
        waiting += len(chunk)
        if not cut and waiting > MAX_LINE:
            message = f"{path} has no line end in {waiting:,} bytes; it is not a text table"
            raise FileError(message)
        if cut:
            yield b"".join([*pending, chunk[:cut]])
            pending, waiting = [], len(chunk) - cut
        pending.append(chunk[cut:])
    rest = b"".join(pending)
    if rest:
        yield rest
    if not total:
        message = f"{path} is empty; download it again"
        raise FileError(message)


def _chunk(stream: Any, path: Path, size: int) -> bytes:
    try:
        return stream.read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"{path} is cut short or damaged ({error}); download it again"
        raise FileError(message) from error


def text_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield each non-empty line with its number, as UTF-8 text without its end.

    Raises:
        FileError: as `blocks`, or not UTF-8.
    """
    number = 0
    for block in blocks(path):
        try:
            text = block.decode("utf-8-sig" if not number else "utf-8")
        except UnicodeDecodeError as error:
            message = f"{path} is not UTF-8 text ({error.reason}); name a text table"
            raise FileError(message) from error
        for line in text.split("\n")[: block.count(b"\n") + (not block.endswith(b"\n"))]:
            number += 1
            if line.strip():
                yield number, line.rstrip("\r")


def scan_table(
    path: str | Path,
    needed: Mapping[str, Any],
    layout: Layout,
    optional: Mapping[str, Any] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield a table in blocks: the needed columns, and those optional ones that are there.

    Args:
        path: the file, plain or gzip.
        needed: polars type of each column that every line must fill.
        layout: how the table is written.
        optional: polars type of columns that may be absent or empty.

    Raises:
        SchemaError: a column is missing, a line is too short or too long, a value is missing or
            not a number; with the number of the line.
        FileError: as `blocks`.
    """
    reading = _Reading(Path(path), layout)
    for block in blocks(path):
        if not reading.columns:
            block = _after_header(block, reading, needed)  # noqa: PLW2901
        if block:
            yield _parsed(block, reading, needed, optional or {})
            reading.line += block.count(b"\n")


def read_table(
    path: str | Path,
    needed: Mapping[str, Any],
    layout: Layout,
    optional: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Return the whole table; see `scan_table`.

    Raises:
        SchemaError: as `scan_table`, or no line follows the header.
        FileError: as `blocks`.
    """
    frames = list(scan_table(path, needed, layout, optional))
    if not sum(f.height for f in frames):
        message = f"{path} has a header and no lines; {layout.where or 'download it again'}"
        raise SchemaError(message)
    return pl.concat(frames)


def header_of(path: str | Path, layout: Layout) -> list[str]:
    """Return the names in the first line of a table."""
    reading = _Reading(Path(path), layout)
    _after_header(next(blocks(path, 1 << 16)), reading, {})
    return reading.columns


def _after_header(block: bytes, reading: _Reading, needed: Mapping[str, Any]) -> bytes:
    """Take comments and the header from the first block; check the names."""
    layout = reading.layout
    block = block.removeprefix(b"\xef\xbb\xbf")
    mark = layout.comment.encode()
    while mark and block.startswith(mark):
        line, _, after = block.partition(b"\n")
        if not layout.names and not after.startswith(mark):
            block = line.removeprefix(mark) + b"\n" + after
            break
        block, reading.line = after, reading.line + 1
    if layout.names:
        reading.columns = list(layout.names)
        return block
    line, _, after = block.partition(b"\n")
    names = line.decode("utf-8", errors="replace").rstrip("\r").split(layout.separator)
    reading.columns = [n.strip().strip(layout.quote or '"') for n in names]
    reading.line += 1
    missing = [n for n in needed if n not in reading.columns]
    if missing:
        found = ", ".join(reading.columns[:12])[:200]
        message = f"{reading.path} has the columns {found}; it needs {', '.join(missing)}" + (
            f": {layout.where}" if layout.where else ": name another file"
        )
        raise SchemaError(message)
    return after


def _parsed(
    block: bytes, reading: _Reading, needed: Mapping[str, Any], optional: Mapping[str, Any]
) -> pl.DataFrame:
    schema = {f"column_{i + 1}": pl.String for i in range(len(reading.columns))}
    wanted = {n: t for n, t in {**needed, **optional}.items() if n in reading.columns}
    place = [f"column_{reading.columns.index(n) + 1}" for n in wanted]
    layout = reading.layout
    _require_widths(block, reading)
    try:
        frame = pl.read_csv(
            io.BytesIO(block), has_header=False, separator=layout.separator,
            quote_char=layout.quote, schema=schema, columns=place, low_memory=True,
        )  # fmt: skip
    except pl.exceptions.PolarsError as error:
        raise _line_fault(block, reading, str(error)) from error
    frame = frame.select([pl.col(p).alias(n) for p, n in zip(place, wanted, strict=True)])
    for name in needed:
        if frame[name].null_count():
            row = int(frame[name].is_null().arg_max() or 0)
            message = (
                f"{reading.path}, line {reading.line + row} is short: it has no value for {name}; "
                f"{layout.where or 'the file may be cut short or of another format'}"
            )
            raise SchemaError(message)
    return _cast(frame, wanted, reading)


def _cast(frame: pl.DataFrame, wanted: Mapping[str, Any], reading: _Reading) -> pl.DataFrame:
    numbers = {n: t for n, t in wanted.items() if t != pl.String}
    cast = frame.with_columns(
        [pl.col(n).str.strip_chars().cast(t, strict=False) for n, t in numbers.items()]
    )
    for name in numbers:
        bad = cast[name].is_null() & frame[name].is_not_null()
        if bad.any():
            row = int(bad.arg_max() or 0)
            message = (
                f"{reading.path}, line {reading.line + row}: {name} is {frame[name][row]!r}; "
                "it must be a number: the columns may be in another order"
            )
            raise SchemaError(message)
    return cast


def _require_widths(block: bytes, reading: _Reading) -> None:
    """Refuse lines with too many values, which the parser skips where it needs few columns."""
    separator, n = reading.layout.separator.encode(), len(reading.columns)
    mark = (reading.layout.quote or "").encode()
    n_lines = block.count(b"\n") + (not block.endswith(b"\n"))
    if not (mark and mark in block) and block.count(separator) == (n - 1) * n_lines:
        return
    for i, line in enumerate(block.split(b"\n")):
        # a separator between quotes belongs to the value
        outside = b"".join(line.split(mark)[::2]) if mark and mark in line else line
        if outside.count(separator) >= n:
            message = (
                f"{reading.path}, line {reading.line + i} has {outside.count(separator) + 1} "
                f"values for {n} columns; "
                f"{reading.layout.where or 'the file may be of another format'}"
            )
            raise SchemaError(message)


def _line_fault(block: bytes, reading: _Reading, reason: str) -> SchemaError | FileError:
    """Find the line that has too few values; too many were looked for before."""
    separator, n = reading.layout.separator.encode(), len(reading.columns)
    for i, line in enumerate(block.split(b"\n")):
        if line and line.count(separator) + 1 < n:
            message = (
                f"{reading.path}, line {reading.line + i} has {line.count(separator) + 1} values "
                f"for {n} columns; {reading.layout.where or 'the file may be of another format'}"
            )
            return SchemaError(message)
    message = f"{reading.path} cannot be read as a table ({reason.splitlines()[0]}); name another"
    return FileError(message)
