"""GEO: the supplementary files of a series, from the net or a folder, read into a Screen.

A series keeps `filelist.txt` and its files below .../series/GSE153nnn/GSE153056/suppl/; samples
are in one `GSE..._RAW.tar` of `GSM..._name` files, often 10x triplets. Downloads go through
`core.fetch`: https only, resumable, a note of the checksum kept, nothing when offline.
"""

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import anndata as ad

from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.fetch import Download, cache_folder, fetch
from perturbkit.core.files import atomic_path
from perturbkit.core.rng import named_rng
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import pseudobulk
from perturbkit.data.read.any import read_any, with_labels
from perturbkit.data.screens import open_screen
from perturbkit.data.screens.find import GenericOptions

SITE = "https://ftp.ncbi.nlm.nih.gov/geo/series"
LIST = "filelist.txt"
MAX_MEMBER = 20_000_000_000
_SERIES = re.compile(r"GSE[1-9][0-9]{0,8}")
_TRIPLET = re.compile(r"(?P<sample>.*?)[_.-]?(?P<part>barcodes|features|genes|matrix)\.(tsv|mtx)")
_READABLE = (".h5", ".h5ad", ".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")


def series_address(dataset_id: str) -> str:
    """Return the https address of a series' supplementary folder.

    Raises:
        SchemaError: not the accession of a series.
    """
    if not _SERIES.fullmatch(dataset_id):
        message = f"{dataset_id!r} is no GEO series; give an accession such as GSE153056"
        raise SchemaError(message)
    stem = dataset_id[:-3] if len(dataset_id) > 6 else "GSE"
    return f"{SITE}/{stem}nnn/{dataset_id}/suppl"


@dataclass(frozen=True)
class SupplementaryFile:
    """A line of a series' `filelist.txt`."""

    name: str
    n_bytes: int
    is_member: bool
    """whether it comes inside the archive"""


def read_file_list(path: Path) -> list[SupplementaryFile]:
    """Read `filelist.txt`: kind, name, time, size and type, tab-separated below a # line.

    Raises:
        SchemaError: other columns, a size that is no number, or a name that leads elsewhere.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if line.startswith("#") or not line.strip():
            continue
        if len(cells) < 4 or not cells[3].strip().isdigit():
            message = (
                f"{path}, line {number}: kind, name, time and size expected, got {line[:60]!r}"
            )
            raise SchemaError(message)
        name = cells[1].strip()
        if PurePosixPath(name).name != name or name in ("", ".", ".."):
            message = f"{path}, line {number}: {name!r} is no plain file name"
            raise SchemaError(message)
        is_archive = cells[0].strip().lower() == "archive"
        in_archive = not is_archive and any(not f.is_member for f in found if f.name[-4:] == ".tar")
        found.append(SupplementaryFile(name, int(cells[3]), in_archive and name.startswith("GSM")))
    return found


class GenomicsDataLoader:
    """`GenomicsDataLoader(dataset_id="GSE153056").fetch_data().preprocess()` gives a Screen.

    Args:
        dataset_id: accession of a GEO series.
        folder: where its files are kept; by default below the folder of downloads. Files that lie
            there already are not downloaded.
        files: names to fetch; by default the archive of samples, else every readable file.
    """

    def __init__(
        self,
        dataset_id: str,
        folder: str | Path | None = None,
        files: tuple[str, ...] = (),
    ) -> None:
        self.dataset_id, self.address = dataset_id, series_address(dataset_id)
        self.folder = Path(folder) if folder is not None else cache_folder() / "geo" / dataset_id
        self.files = files

    def fetch_data(self) -> "GenomicsDataLoader":
        """Download what is not there yet, and unpack the archive of samples.

        Raises:
            FileError: offline and absent, not readable, or an archive that leads elsewhere.
            SchemaError: a list of files of another layout, or a file that it does not name.
        """
        for name in self._wanted():
            path = self._fetch(name)
            if path.name.endswith(".tar"):
                unpack(path, self.folder / "samples")
        return self

    def _wanted(self) -> tuple[str, ...]:
        listed = [f for f in read_file_list(self._fetch(LIST)) if not f.is_member]
        names = [f.name for f in listed]
        unknown = sorted(set(self.files) - set(names))
        if unknown:
            message = f"{self.dataset_id} has no file {unknown[0]!r}; it has {', '.join(names)}"
            raise SchemaError(message)
        archives = tuple(n for n in names if n.endswith("_RAW.tar"))
        readable = tuple(n for n in names if n.lower().endswith(_READABLE))
        wanted = self.files or archives or readable
        if not wanted:
            message = (
                f"{self.dataset_id} has {', '.join(names) or 'no files'}: none that is read here; "
                "name what to fetch with files=, and read it yourself"
            )
            raise FileError(message)
        return wanted

    def _fetch(self, name: str) -> Path:
        download = Download(name=name, urls=(f"{self.address}/{name}",), licence="see the series")
        return fetch(download, self.folder)

    def samples(self) -> dict[str, Path]:
        """Return what can be read, by sample: folders of 10x triplets, and single files."""
        found: dict[str, Path] = {}
        for place in (self.folder / "samples", self.folder):
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                if path.is_dir() and any(path.glob("matrix.mtx*")):
                    found[path.name] = path
                elif path.is_file() and path.name.lower().endswith(_READABLE):
                    found[path.name.split(".")[0]] = path
        found.pop(LIST.split(".", maxsplit=1)[0], None)
        return found

    def read(self) -> ad.AnnData:
        """Read and join all samples; `obs["batch"]` says which a cell is of.

        Raises:
            FileError: nothing was fetched, or a file is damaged.
        """
        samples = self.samples()
        if not samples:
            message = f"{self.folder} holds nothing that is read here; call fetch_data() first"
            raise FileError(message)
        parts = {name: read_any(path)[0] for name, path in samples.items()}
        if len(parts) == 1:
            name, only = parts.popitem()
            only.obs["batch"] = name
            return only
        for part in parts.values():
            part.var = part.var[[]]  # ids may differ between samples; names are the key
        joined = ad.concat(parts, label="batch", index_unique="-", join="inner")
        if not joined.n_vars:
            message = (
                f"the samples of {self.dataset_id} share no gene; read them one by one with files="
            )
            raise SchemaError(message)
        return joined

    def preprocess(
        self, labels: str | Path | None = None, *, unit: str = "counts", profiles: bool = True,
        seed: int = 0, **options: Any,
    ) -> Screen:  # fmt: skip
        """Read the samples into a Screen, cells averaged by condition.

        Args:
            labels: a table whose first column names cells (barcodes) and whose others label
                them, such as the guide of each; needed unless a file labels its own cells.
            unit: of the values.
            profiles: average the cells of each condition (normalised and logged if counts).
            seed: of the random halves of cells.
            **options: names of columns, as of `perturbkit.load`: perturbation, control, kind, ...

        Raises:
            FileError: nothing was fetched.
            SchemaError: no labels, or no control among them.
        """
        adata = self.read()
        if labels is not None:
            adata = with_labels(adata, labels)
        given = GenericOptions.parse({"perturbation": "perturbation", **options}, self.dataset_id)
        if given.perturbation not in adata.obs.columns:
            message = (
                f"{self.dataset_id}: the cells have no column {given.perturbation!r} (they have "
                f"{', '.join(map(str, adata.obs.columns))}); give labels=, a table from barcode "
                "to perturbation"
            )
            raise SchemaError(message)
        whole = self.folder / "joined" / f"{self.dataset_id}.h5ad"
        with atomic_path(whole) as temporary:
            adata.write_h5ad(temporary)
        screen = open_screen(whole, unit=unit, seed=seed, **options)
        if screen.level == "cells" and profiles:
            return pseudobulk(screen, named_rng(seed, "halves"))
        return screen


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive of samples: 10x triplets each into a folder, other files beside them.

    Raises:
        FileError: damaged, or a member that is a link or leads elsewhere.
    """
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:  # all are looked at before any is written
                _require_plain(archive, member)
            for member in members:
                content = tar.extractfile(member)
                if content is None:
                    continue
                with atomic_path(folder / _place(member)) as temporary, temporary.open("wb") as out:
                    while block := content.read(1 << 20):
                        out.write(block)
    except (tarfile.TarError, EOFError) as error:
        message = f"{archive} is no whole tar archive ({error}); remove it and fetch it again"
        raise FileError(message) from error


def _require_plain(archive: Path, member: tarfile.TarInfo) -> None:
    name = PurePosixPath(member.name).name
    if not member.isfile() or name != member.name.removeprefix("./"):
        message = f"{archive}: {member.name!r} is no plain file of the archive; nothing is unpacked"
        raise FileError(message)
    if member.size > MAX_MEMBER:
        message = f"{archive}: {name} has {member.size:,} bytes; unpack it by hand"
        raise FileError(message)


def _place(member: tarfile.TarInfo) -> Path:
    """Return where a member goes: the parts of a 10x triplet into a folder of their sample."""
    name = PurePosixPath(member.name).name
    triplet = _TRIPLET.match(name)
    if triplet is None:
        return Path(name)
    return Path(triplet["sample"] or "sample") / name[triplet.start("part") :]
