"""Files that are either whole or absent: atomic writes, checksums, refusals before damage."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perturbkit.core.errors import FileError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place only when the block succeeds.

    The content is flushed to the disk before the rename, so a crash leaves the old file or the
    new one, never a mixture. The temporary name keeps the suffix, which some writers look at.

    Raises:
        FileError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except FileError:
        raise
    except OSError as error:
        message = (
            f"could not write {path}: {error.strerror or error}; nothing was changed there: "
            "check the folder's permissions and free space"
        )
        raise FileError(message) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically, two spaces deep; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileError: it is missing or not JSON.
    """
    text = existing(path).read_text(encoding="utf-8", errors="replace")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        message = f"{path} is not valid JSON ({error}); it may be cut short: write it again"
        raise FileError(message) from error


def existing(path: str | Path, what: str = "file") -> Path:
    """Return `path` as a Path, or raise FileError naming it and its closest neighbour."""
    path = Path(path)
    if path.exists():
        return path
    folder = path.parent
    hint = "check the spelling and the folder"
    if not folder.exists():
        hint = f"the folder {folder} does not exist"
    else:
        near = sorted(p.name for p in folder.iterdir() if p.suffix == path.suffix and path.suffix)
        if near:
            hint = f"{folder} holds {', '.join(near[:3])}"
    message = f"no {what} at {path}; {hint}"
    raise FileError(message)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: str | Path, n_bytes: int) -> None:
    """Refuse before writing when `folder` has less than `n_bytes` free.

    Raises:
        FileError: too little space.
    """
    place = Path(folder)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < n_bytes:
        message = (
            f"{place} has {free / 1e6:,.0f} MB free and {n_bytes / 1e6:,.0f} MB are needed; "
            "free some space or write elsewhere"
        )
        raise FileError(message)
