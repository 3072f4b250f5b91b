"""AnnData files: read with every fault mapped to one clear line, written atomically."""

import math
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
from anndata._io.specs.registry import IORegistryError
from scipy import sparse

from perturbkit.core.errors import FileError, SchemaError, UnitError
from perturbkit.core.files import atomic_path, existing
from perturbkit.core.screen import Screen
from perturbkit.core.units import UNITS, stored_values

FAULTS = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, IORegistryError)
"""What h5py and anndata raise on a damaged file."""
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
STAMP = "perturbkit"
"""The key in `uns` under which a written Screen states its unit and level."""
FORMAT = 1


def read_adata(path: str | Path) -> ad.AnnData:
    """Read an h5ad file whole into memory.

    Raises:
        FileError: missing, not HDF5, cut short, damaged, or with links that leave the file.
    """
    file = existing(path, "h5ad file")
    require_hdf5(file)
    try:
        with h5py.File(file, "r") as handle:
            refuse_links(handle, file)
            refuse_huge(handle, file)
            if "X" not in handle or "obs" not in handle or "var" not in handle:
                found = ", ".join(sorted(handle)) or "nothing"
                message = (
                    f"{file} is HDF5 but not AnnData: it holds {found} and needs X, obs and var; "
                    "give an h5ad file"
                )
                raise FileError(message)
        with warnings.catch_warnings():
            # names that repeat and old encodings are judged by the Screen, not by a warning
            warnings.simplefilter("ignore")
            adata = ad.read_h5ad(file)
    except FileError:
        raise
    except FAULTS as error:
        raise damaged(file, error) from error
    require_numbers(getattr(adata.X, "dtype", np.dtype(float)), file)
    if sparse.issparse(adata.X):
        _check_sparse(adata.X, file)
    return adata


def require_hdf5(file: Path) -> None:
    """Refuse a folder or a file that does not start like HDF5.

    Raises:
        FileError: it is something else; the message says what it starts with.
    """
    if file.is_dir():
        message = f"{file} is a folder; give the h5ad file in it"
        raise FileError(message)
    with file.open("rb") as handle:
        head = handle.read(len(HDF5_MAGIC))
    if head != HDF5_MAGIC:
        message = (
            f"{file} is not HDF5 (it is {'empty' if not head else f'starting with {head!r}'}), "
            "so it is no h5ad file; download it again or give another file"
        )
        raise FileError(message)


def refuse_links(group: h5py.Group, file: Path) -> None:
    """Refuse external links: they make a file read others.

    Raises:
        FileError: a link leaves the file.
    """
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            message = f"{file} links {name!r} to another file; copy the data into one file"
            raise FileError(message)
        member = group[name]
        if isinstance(member, h5py.Group):
            refuse_links(member, file)


def refuse_huge(group: h5py.Group, file: Path, *, but: str = "") -> None:
    """Refuse what would not fit in memory: a file can declare any size without holding it.

    Args:
        group: where to look.
        file: for the message.
        but: a member that is never read whole.

    Raises:
        FileError: the members declare more bytes than there is memory.
    """
    n_bytes = 0

    def add(name: str, member: h5py.Group | h5py.Dataset) -> None:
        nonlocal n_bytes
        if isinstance(member, h5py.Dataset) and not (but and name.split("/", maxsplit=1)[0] == but):
            n_bytes += math.prod(member.shape or (0,)) * max(member.dtype.itemsize, 1)

    group.visititems(add)
    room = free_memory()
    if n_bytes > room:
        message = (
            f"{file} declares {n_bytes / 1e9:,.1f} GB and {room / 1e9:,.1f} GB of memory are free; "
            "reduce it without reading it whole: perturbkit prepare"
        )
        raise FileError(message)


def free_memory() -> float:
    """Return the bytes of memory that are free; infinite where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf
    return 1024.0 * float(line.split()[1])


def damaged(file: Path, error: Exception) -> FileError:
    """Build the error for a file that cannot be read to its end, or not by this version."""
    text = " ".join(str(error).split())
    if isinstance(error, IORegistryError):
        return FileError(
            f"{file} holds something in a layout that this anndata does not read "
            f"({text[:220]}); upgrade anndata, or write the file with an older version"
        )
    return FileError(f"{file} is cut short or damaged ({text[:160]}); copy or download it again")


def require_numbers(dtype: np.dtype, file: Path) -> None:
    """Refuse a matrix of something else.

    Raises:
        FileError: text, complex numbers or objects.
    """
    if dtype.kind not in "biuf":
        message = f"{file} holds {dtype} where numbers belong; write the matrix as numbers"
        raise FileError(message)


def _check_sparse(x_ng: Any, file: Path) -> None:
    try:
        x_ng.check_format(full_check=True)
    except ValueError as error:
        raise damaged(file, error) from error


def stated_unit(adata: ad.AnnData, unit: str | None, where: str) -> str:
    """Return the unit that the user or the file states; never a guess.

    Raises:
        UnitError: nobody states it, or the two disagree; says what the values look like.
    """
    stamp = adata.uns.get(STAMP)
    stored = str(stamp["unit"]) if isinstance(stamp, dict) and "unit" in stamp else None
    if unit and stored and unit != stored:
        message = f"{where} says its unit is {stored}, not {unit}; drop the unit option"
        raise UnitError(message)
    found = unit or stored
    if not found:
        message = (
            f"{where} does not state its unit, which is never guessed; the values look like "
            f"{looks_like(adata.X)}: state --unit with one of {', '.join(UNITS)} "
            "(fit: --set screen.unit=UNIT)"
        )
        raise UnitError(message)
    return found


def looks_like(x_ng: Any) -> str:
    """Say in words what unit the values resemble, and why."""
    values = stored_values(x_ng)
    values = values[np.isfinite(values)]
    if not values.size:
        return "nothing (no finite value)"
    low, high = float(values.min()), float(values.max())
    span = f"between {low:.3g} and {high:.4g}"
    if low < 0:
        return "signed_rank" if low >= -1 and high <= 1 else f"zscore or log2fc ({span})"
    if np.array_equal(values, np.rint(values)):
        return f"counts (whole numbers {span})"
    return f"log1p_cp10k (fractions {span})" if high < 15 else f"none of the units ({span})"


def write_screen(screen: Screen, path: str | Path) -> None:
    """Write a Screen as h5ad, atomically, with its unit and level stated in `uns`.

    Raises:
        FileError: the place cannot be written.
        SchemaError: a column holds objects that have no place in a file.
    """
    adata = screen.adata
    stamp = {"unit": screen.unit, "level": screen.level, "format": FORMAT}
    # shares the arrays: nothing is copied
    stamped = ad.AnnData(
        X=adata.X, obs=adata.obs, var=adata.var, layers=dict(adata.layers),
        uns=dict(adata.uns) | {STAMP: stamp},
    )  # fmt: skip
    with atomic_path(path) as temporary:
        try:
            stamped.write_h5ad(temporary)
        except TypeError as error:
            reason = " ".join(str(error).split())
            message = f"the screen holds something h5ad cannot: {reason}; drop that column"
            raise SchemaError(message) from error
