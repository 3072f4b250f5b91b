"""Writing a cell store from h5ad files of any size, chunk by chunk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numba import njit

from perturbkit.core.condition import CONDITION_SCHEMA, condition_table
from perturbkit.core.errors import FileError
from perturbkit.core.files import require_space, sha256, write_json
from perturbkit.data.prepare.cells import cell_totals
from perturbkit.data.prepare.settings import PrepareConfig
from perturbkit.data.prepare.sources import Sources, open_sources
from perturbkit.data.prepare.stream import Watch
from perturbkit.data.read.rows import H5Matrix
from perturbkit.data.store.cells import ARRAYS, FORMAT, MANIFEST, CellStore

AT_A_TIME = 4_000_000
LARGEST_SHORT = 65_535


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total


def write_store(
    paths: Sequence[str | Path],
    folder: str | Path,
    config: PrepareConfig,
    watch: Watch = _silent,
) -> CellStore:
    """Write the cells of one or several h5ad files as one store, grouped by condition and batch.

    Counts below 65,536 take two bytes, other values four; columns take two bytes where they fit.
    The manifest is written last, so a store that was stopped does not open.

    Args:
        paths: h5ad files of the same readouts, CSR or dense.
        folder: where to write; it must not hold a store.
        config: labels, unit, layer and the `where` conditions; the other filters are not used.
        watch: called with what is done, how many cells, of how many.

    Raises:
        FileError: a file is damaged, the folder is taken, or the disk too small.
        SchemaError: labels or readouts are missing.
        UnitError: the unit is not stated, or the values cannot be in it.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists():
        message = f"{folder} holds a cell store already; name another folder or remove it"
        raise FileError(message)
    sources = open_sources([Path(p) for p in paths], config)
    n_values = sum(f.nnz for f in sources.files)
    require_space(folder, 8 * n_values)
    folder.mkdir(parents=True, exist_ok=True)
    indptr, place, group_n = _layout(sources, config)
    types = {"data": "float32", "indices": "uint16" if len(sources.readouts) <= LARGEST_SHORT else
             "uint32"}  # fmt: skip
    largest = _largest(sources, config) if sources.unit == "counts" else np.inf
    if largest <= LARGEST_SHORT:
        types["data"] = "uint16"
    maps = {
        name: np.memmap(folder / f"{name}.bin", dtype, "w+", shape=(max(int(indptr[-1]), 1),))
        for name, dtype in types.items()
    }
    _copy(sources, config, maps, (indptr, place), watch)
    for array in maps.values():
        array.flush()
    _finish(folder, sources, types, indptr, place, group_n)
    return CellStore.open(folder)


def _layout(sources: Sources, config: PrepareConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the row pointers of the store, each cell's place (-1: left out), and groups."""
    group_n = np.concatenate([f.group_n for f in sources.files]).astype(np.int64)
    where_n = np.concatenate([f.where_n for f in sources.files])
    kept = np.flatnonzero(where_n)
    order = kept[np.lexsort((kept, group_n[kept]))]
    place = np.full(group_n.size, -1, np.int64)
    place[order] = np.arange(order.size)
    sizes = []
    for source in sources.files:
        with H5Matrix(source.path, config.layer) as matrix:
            if matrix.is_sparse:
                sizes.append(np.diff(matrix.indptr))
            else:
                counts = [np.diff(r.indptr) for r in matrix.chunks(AT_A_TIME)]
                sizes.append(np.concatenate(counts))
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(sizes)[order])]).astype(np.int64)
    return indptr, place, group_n[order]


def _largest(sources: Sources, config: PrepareConfig) -> float:
    """Read all counts once for the largest, and to refuse what are no counts."""
    largest, no_mito = 0.0, np.zeros(len(sources.readouts), bool)
    for source in sources.files:
        with H5Matrix(source.path, config.layer) as matrix:
            for rows in matrix.chunks(AT_A_TIME):
                cell_totals(rows, no_mito, sources.unit)
                if rows.data.size:
                    largest = max(largest, float(rows.data.max()))
    return largest


def _copy(
    sources: Sources, config: PrepareConfig, maps: dict[str, np.memmap],
    where: tuple[np.ndarray, np.ndarray], watch: Watch,
) -> None:  # fmt: skip
    indptr, place = where
    before, total = 0, place.size
    for source in sources.files:
        with H5Matrix(source.path, config.layer) as matrix:
            for rows in matrix.chunks(AT_A_TIME):
                here = place[before + rows.start : before + rows.stop]
                _scatter(rows.data, rows.indices, rows.indptr, source.columns_g, here, indptr,
                         maps["data"], maps["indices"])  # fmt: skip
                watch("store", before + rows.stop, total)
        before += source.shape[0]


def _finish(
    folder: Path, sources: Sources, types: dict[str, str], indptr: np.ndarray, place: np.ndarray,
    group_k: np.ndarray,
) -> None:  # fmt: skip
    small = {
        "indptr": indptr,
        "condition": sources.condition_k[group_k],
        "batch": sources.batch_k[group_k],
        "source": np.argsort(place, kind="stable")[place.size - group_k.size :],
    }
    for name, array in small.items():
        array.astype(ARRAYS[name]).tofile(folder / f"{name}.bin")
    sizes = {n: a.size for n, a in small.items()} | dict.fromkeys(types, max(int(indptr[-1]), 1))
    table = condition_table(sources.conditions)
    n_cells = np.bincount(small["condition"], minlength=table.height)
    write_json(folder / MANIFEST, {
        "format": FORMAT, "unit": sources.unit, "readouts": list(sources.readouts),
        "batches": sources.batches,
        "conditions": [[*row, int(n)] for row, n in zip(
            table.select(*CONDITION_SCHEMA).rows(), n_cells, strict=True)],
        "files": [f.path.name for f in sources.files],
        "arrays": {n: {"size": s, "dtype": types.get(n, ARRAYS[n]),
                       "sha256": sha256(folder / f"{n}.bin")} for n, s in sizes.items()},
    })  # fmt: skip


@njit(cache=True, nogil=True)
def _scatter(data, indices, indptr, columns_g, place, to_ptr, to_data, to_indices):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    for row in range(place.size):
        if place[row] < 0:
            continue
        to = to_ptr[place[row]]
        for at in range(indptr[row], indptr[row + 1]):
            to_data[to] = data[at]
            to_indices[to] = columns_g[indices[at]]
            to += 1
