"""Downloads: https only, checked by SHA-256, mirrors in turn, offline fails fast and names it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perturbkit.core.errors import FileError
from perturbkit.core.files import sha256, write_text

OFFLINE = "PERTURBKIT_OFFLINE"
"""When this environment variable is set to anything but 0, nothing is downloaded."""
CACHE = "PERTURBKIT_CACHE"
"""The environment variable that names the folder of downloaded files."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file on the net."""

    name: str
    """the file's name on disk"""
    urls: tuple[str, ...]
    """https addresses, tried in turn"""
    sha256: str = ""
    """of the whole file; empty where the provider publishes none and the file changes: then the
    first download is noted beside the file, and a later change is refused"""
    licence: str = ""
    """terms of use"""

    def __post_init__(self) -> None:
        bad = [u for u in self.urls if not u.startswith("https://")]
        if bad or not self.urls:
            message = f"{self.name}: {bad[0] if bad else 'no address'}; downloads use https only"
            raise FileError(message)


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of downloaded files, which need not exist."""
    values = os.environ if environment is None else environment
    if values.get(CACHE):
        return Path(values[CACHE])
    return Path(values.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perturbkit"


def is_offline() -> bool:
    """Whether downloads are switched off."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


def fetch(download: Download, folder: str | Path | None = None) -> Path:
    """Return the file, downloaded if it is not there yet; it is whole or absent.

    Args:
        download: what to get.
        folder: where to keep it, by default `cache_folder()`.

    Raises:
        FileError: offline and absent, no mirror answers, or the checksum differs.
    """
    folder = cache_folder() if folder is None else Path(folder)
    path = folder / download.name
    if path.exists():
        return _checked(path, download)
    if is_offline():
        message = (
            f"{path} is not here and downloads are switched off ({OFFLINE}); "
            f"put {download.urls[0]} there, or unset {OFFLINE}"
        )
        raise FileError(message)
    reasons = []
    for url in download.urls:
        try:
            return _checked(_retrieve(url, download, folder), download)
        except (OSError, ValueError) as error:
            reasons.append(f"{url}: {str(error).splitlines()[0] if str(error) else type(error)}")
    message = (
        f"could not download {download.name} ({'; '.join(reasons)}); "
        f"check the connection, or put the file at {path}"
    )
    raise FileError(message)


def _retrieve(url: str, download: Download, folder: Path) -> Path:
    """Download to a temporary name, check, then rename: pooch does all three."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    digest = f"sha256:{download.sha256}" if download.sha256 else None
    downloader = pooch.HTTPDownloader(timeout=30)
    return Path(
        pooch.retrieve(
            url, known_hash=digest, fname=download.name, path=folder, downloader=downloader
        )
    )


def _checked(path: Path, download: Download) -> Path:
    note = path.with_name(path.name + ".sha256")
    expected = download.sha256 or (
        note.read_text(encoding="utf-8").strip() if note.exists() else ""
    )
    found = sha256(path)
    if not expected:
        write_text(note, found + "\n")
    elif found != expected:
        message = (
            f"{path} has the SHA-256 {found[:12]}..., expected {expected[:12]}...; "
            "the file changed or is damaged: remove it, and its .sha256 if you trust the new one"
        )
        raise FileError(message)
    return path
