"""Mean responses of the cells of a store, without holding the cells in memory."""

from typing import Any

import numpy as np
import pandas as pd
from numba import njit

from perturbkit.core.condition import CONTROL
from perturbkit.core.responses import Responses
from perturbkit.data.profiles import half_of_cells, profiles_of, responses_of
from perturbkit.data.stats import GroupStats, add_rows, cell_scales
from perturbkit.data.store.cells import CellStore


def responses_of_store(store: CellStore, rng: np.random.Generator) -> Responses:
    """Return the measured responses of a store, as `responses_of` does of a Screen.

    Args:
        store: cells, in memory or mapped from disk; values are read once, in their order.
        rng: the split of each condition's cells into halves, alike in their batches.
    """
    arrays = store.arrays
    code_n = arrays["condition"].astype(np.int64)
    scale_n = None
    if store.unit == "counts":
        library_n = _sums(arrays["data"], arrays["indptr"])
        scale_n = cell_scales(library_n)
        code_n = np.where(library_n > 0, code_n, -1)
    kept = code_n >= 0
    half_n = np.zeros(code_n.size, np.int8)
    half_n[kept] = half_of_cells(code_n[kept], arrays["batch"][kept].astype(np.int64), rng)
    stats = GroupStats.empty(store.conditions.height, len(store.readouts))
    columns_g = np.arange(len(store.readouts), dtype=np.int32)
    add_rows(stats, arrays["data"], arrays["indices"], arrays["indptr"], columns_g, code_n, half_n,
             scale_n)  # fmt: skip
    var = pd.DataFrame(index=pd.Index(list(store.readouts), dtype=object))
    unit = "log1p_cp10k" if store.unit == "counts" else store.unit
    table = store.conditions.drop("n_cells")
    return responses_of(profiles_of(stats, table, var, unit))


def describe_store(store: CellStore) -> dict[str, Any]:
    """Return what the report says of the screen, as `Screen.describe` does."""
    table = store.conditions
    control = (table["perturbation"] == CONTROL).to_numpy()
    return {
        "level": "cells",
        "unit": store.unit,
        "n_rows": store.n_cells,
        "n_readouts": len(store.readouts),
        "n_perturbations": int(table.filter(~control)["perturbation"].n_unique()),
        "contexts": list(dict.fromkeys(table["context"])),
        "kinds": sorted(set(table["kind"])),
        "n_control_rows": int(table["n_cells"].to_numpy()[control].sum()),
    }


@njit(cache=True, nogil=True)
def _sums(data, indptr):  # noqa: ANN001, ANN202
    out = np.zeros(indptr.size - 1)
    for row in range(out.size):
        for at in range(indptr[row], indptr[row + 1]):
            out[row] += data[at]
    return out
