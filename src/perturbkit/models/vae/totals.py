"""What the training cells say of each condition: sums, never the cells themselves."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from perturbkit.core.condition import CONTROL, condition_keys
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.cells import CellData

N_LIBRARIES = 16
"""quantiles of the control cells' totals that stand for all of them"""


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums over training cells; suffixes c conditions, k contexts, b batches, g readouts."""

    keys: tuple[str, ...]
    """the training conditions, controls included"""
    size_cb: np.ndarray
    """total counts of the cells of each condition in each batch; cells, where values are no counts
    """
    square_c: np.ndarray
    """sum of squared totals of the cells of each condition"""
    sum_cg: np.ndarray
    """sum of the values"""
    spread_cg: np.ndarray | None
    """variance of the values within each condition; None for counts, whose likelihood says it"""
    mean_cg: np.ndarray
    """mean response in the unit of the profiles, float32"""
    control_kbg: np.ndarray
    """sum of the values of control cells by context and batch"""
    control_kb: np.ndarray
    """their total counts, or cells"""
    library_kl: np.ndarray
    """quantiles of the totals of a context's control cells"""

    @classmethod
    def of(cls, cells: CellData, contexts: Vocabulary, *, counts: bool) -> Self:
        """Sum over every cell of the training conditions, a block at a time.

        Args:
            cells: the cells of a screen.
            contexts: those of the training cells.
            counts: whether the values are counts.
        """
        store, profiles = cells.store, cells.profiles
        position = profiles.find(condition_keys(store.conditions))
        rows = np.concatenate([cells.train_n, cells.val_n])
        rows = np.sort(rows[position[store.arrays["condition"][rows]] >= 0])
        n_c, n_b, n_g = len(profiles.keys), len(store.batches), len(store.readouts)
        sums, squares = np.zeros((n_c, n_g)), np.zeros((n_c, n_g))
        library = np.empty(rows.size)
        for low in range(0, rows.size, 2048):
            part = slice(low, low + 2048)
            x = store.dense(rows[part]).astype(np.float64)
            code = position[store.arrays["condition"][rows[part]]]
            member = (code == np.arange(n_c)[:, None]).astype(np.float64)
            sums += member @ x
            if not counts:
                squares += member @ x**2
            library[part] = x.sum(1) if counts else 1.0
        code, batch = position[store.arrays["condition"][rows]], store.arrays["batch"][rows]
        size_cb = np.zeros((n_c, n_b))
        np.add.at(size_cb, (code, batch), library)
        context_c = contexts.find(profiles.contexts)
        control_kbg, control_kb = _controls(cells, rows, contexts, library)
        n_cells = np.maximum(np.bincount(code, minlength=n_c), 1)[:, None]
        spread = None if counts else np.maximum(squares / n_cells - (sums / n_cells) ** 2, 1e-8)
        is_control = profiles.is_control[code]
        quantiles = np.stack([
            _quantiles(library[(context_c[code] == k) & is_control], library)
            for k in range(len(contexts))
        ])  # fmt: skip
        return cls(
            tuple(profiles.keys), size_cb, np.bincount(code, library**2, n_c), sums, spread,
            profiles.mean_cg, control_kbg, control_kb, quantiles,
        )  # fmt: skip

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays, and the keys as plain values."""
        names = [n for n in self.__dataclass_fields__ if n != "keys"]
        arrays = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        return arrays, {"keys": list(self.keys)}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Self:
        """Rebuild from `state`."""
        return cls(keys=tuple(about["keys"]), **{"spread_cg": None, **arrays})


def _controls(
    cells: CellData, rows: np.ndarray, contexts: Vocabulary, library: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums and sizes of the control cells by context and batch."""
    store = cells.store
    table = store.conditions
    of_context = contexts.find(table["context"].to_list())
    of_context[(table["perturbation"] != CONTROL).to_numpy()] = -1
    place = of_context[store.arrays["condition"][rows]]
    batch = store.arrays["batch"][rows]
    sums = np.zeros((len(contexts), len(store.batches), len(store.readouts)))
    sizes = np.zeros(sums.shape[:2])
    for k, b in np.unique(np.stack([place, batch])[:, place >= 0], axis=1).T:
        mine = np.flatnonzero((place == k) & (batch == b))
        sizes[k, b] = library[mine].sum()
        for low in range(0, mine.size, 4096):
            sums[k, b] += store.dense(rows[mine[low : low + 4096]]).sum(0, dtype=np.float64)
    return sums, sizes


def _quantiles(library: np.ndarray, everyone: np.ndarray) -> np.ndarray:
    levels = (np.arange(N_LIBRARIES) + 0.5) / N_LIBRARIES
    return np.quantile(library if library.size else everyone, levels)
