"""A cell store in memory: the cells of a Screen in the layout of the store on disk."""

import numpy as np
import polars as pl
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import condition_codes
from perturbkit.data.store.cells import CellStore


def store_of(screen: Screen) -> CellStore:
    """Return the cells of a screen as a store, grouped by condition and batch.

    Cells without a single count are left out, as they are from profiles. `source` holds each
    cell's row in the screen.

    Raises:
        SchemaError: the screen holds profiles.
    """
    if screen.level != "cells":
        message = (
            "the screen holds profiles; a store needs cells: open the file of the cells, "
            "or take a model of profiles"
        )
        raise SchemaError(message)
    table, code_n = condition_codes(screen)
    batches = screen.adata.obs["batch"].cat
    batch_n = batches.codes.to_numpy().astype(np.int64)
    x_ng = sparse.csr_matrix(screen.adata.X)
    rows = np.flatnonzero(x_ng.getnnz(1)) if screen.unit == "counts" else np.arange(code_n.size)
    rows = rows[np.lexsort((rows, batch_n[rows], code_n[rows]))]
    ordered = x_ng[rows]
    ordered.sort_indices()
    n_cells = np.bincount(code_n[rows], minlength=table.height)
    arrays = {
        "data": ordered.data.astype(np.float32),
        "indices": ordered.indices.astype(np.uint32),
        "indptr": ordered.indptr.astype(np.int64),
        "condition": code_n[rows].astype(np.int32),
        "batch": batch_n[rows].astype(np.int32),
        "source": rows.astype(np.int64),
    }
    conditions = table.with_columns(n_cells=pl.Series(n_cells, dtype=pl.Int64))
    names = [str(name) for name in batches.categories]
    return CellStore(None, screen.readouts, conditions, names, screen.unit, arrays)
