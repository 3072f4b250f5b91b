"""What the training cells say of each condition: sums, never the cells themselves."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from perturbkit.core.condition import condition_keys
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
    n_cb: np.ndarray
    """cells of each condition in each batch"""
    mean_cg: np.ndarray
    """mean response in the unit of the profiles"""
    spread_g: np.ndarray
    """variance within conditions, in the unit of the profiles"""
    control_kbg: np.ndarray
    """sum of the values of control cells by context and batch"""
    control_kb: np.ndarray
    """their total counts, or cells"""
    response_kbg: np.ndarray
    """mean response of those control cells, in the unit of the profiles; 0 without cells"""
    control_n_kb: np.ndarray
    """their number"""
    library_kl: np.ndarray
    """quantiles of the totals of a context's control cells"""
    halves: "tuple[Totals, Totals] | None" = None
    """the same of two disjoint halves of each condition's cells; a half has no halves"""

    @classmethod
    def of(cls, cells: CellData, contexts: Vocabulary, *, counts: bool) -> Self:
        """Sum over every cell of the training conditions, a block at a time.

        Args:
            cells: the cells of a screen.
            contexts: those of the training cells.
            counts: whether the values are counts.
        """
        store = cells.store
        position = cells.profiles.find(condition_keys(store.conditions))
        rows = np.concatenate([cells.train_n, cells.val_n])
        rows = np.sort(rows[position[store.arrays["condition"][rows]] >= 0])
        # every other cell of each condition and batch, in the order of the screen
        kind = np.stack([store.arrays["condition"][rows], store.arrays["batch"][rows]])
        order = np.lexsort(kind)
        second = np.empty(rows.size, bool)
        second[order] = np.arange(rows.size) % 2 == 1
        halves = [cls._of_rows(cells, rows[m], contexts, counts=counts) for m in (~second, second)]
        whole = cls._of_rows(cells, rows, contexts, counts=counts)
        return replace(whole, mean_cg=cells.profiles.mean_cg, halves=(halves[0], halves[1]))

    @classmethod
    def _of_rows(
        cls, cells: CellData, rows: np.ndarray, contexts: Vocabulary, *, counts: bool
    ) -> Self:
        """Sum over some cells."""
        store, profiles = cells.store, cells.profiles
        code = profiles.find(condition_keys(store.conditions))[store.arrays["condition"][rows]]
        batch = store.arrays["batch"][rows]
        n_c, n_b, n_g = len(profiles.keys), len(store.batches), len(store.readouts)
        context_c, is_control = contexts.find(profiles.contexts), profiles.is_control
        stratum = np.where(is_control[code], context_c[code] * n_b + batch, -1)
        n_s = len(contexts) * n_b
        logged = store.unit == "counts"
        sums, responses, squares = (np.zeros((n_c, n_g)) for _ in range(3))
        control, response = np.zeros((n_s, n_g)), np.zeros((n_s, n_g))
        library = np.ones(rows.size)
        for low in range(0, rows.size, 2048):
            part = slice(low, low + 2048)
            y = store.dense(rows[part], log=logged).astype(np.float64)
            x = store.dense(rows[part]).astype(np.float64) if counts else y
            member = (code[part] == np.arange(n_c)[:, None]).astype(np.float64)
            of_stratum = (stratum[part] == np.arange(n_s)[:, None]).astype(np.float64)
            sums += member @ x
            responses += member @ y
            squares += member @ y**2
            control += of_stratum @ x
            response += of_stratum @ y
            if counts:
                library[part] = x.sum(1)
        n_cb, size_cb = np.zeros((n_c, n_b)), np.zeros((n_c, n_b))
        np.add.at(n_cb, (code, batch), 1)
        np.add.at(size_cb, (code, batch), library)
        n_s_c = np.bincount(stratum[stratum >= 0], minlength=n_s).astype(np.float64)
        size_s = np.bincount(stratum[stratum >= 0], library[stratum >= 0], n_s)
        n = np.maximum(n_cb.sum(1), 1)[:, None]
        within = (squares - responses**2 / n).sum(0) / max(rows.size - n_c, 1)
        shape = (len(contexts), n_b)
        quantiles = np.stack([
            _quantiles(library[(context_c[code] == k) & is_control[code]], library)
            for k in range(len(contexts))
        ])  # fmt: skip
        return cls(
            tuple(profiles.keys), size_cb, np.bincount(code, library**2, n_c), sums, n_cb,
            responses / n, np.maximum(within, 1e-8), control.reshape(*shape, n_g),
            size_s.reshape(shape), (response / np.maximum(n_s_c, 1)[:, None]).reshape(*shape, n_g),
            n_s_c.reshape(shape), quantiles,
        )  # fmt: skip

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays, and the keys as plain values."""
        names = [n for n in self.__dataclass_fields__ if n not in ("keys", "halves")]
        arrays = {n: getattr(self, n) for n in names}
        for i, half in enumerate(self.halves or ()):
            arrays |= {f"half{i}.{n}": v for n, v in half.state()[0].items()}
        return arrays, {"keys": list(self.keys)}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Self:
        """Rebuild from `state`."""
        keys = tuple(about["keys"])
        own: dict[str, Any] = {n: v for n, v in arrays.items() if not n.startswith("half")}
        parts: list[dict[str, Any]] = [
            {n[6:]: v for n, v in arrays.items() if n.startswith(f"half{i}.")} for i in range(2)
        ]
        halves = [cls(keys=keys, **part) for part in parts]
        return cls(keys=keys, halves=(halves[0], halves[1]), **own)


def _quantiles(library: np.ndarray, everyone: np.ndarray) -> np.ndarray:
    levels = (np.arange(N_LIBRARIES) + 0.5) / N_LIBRARIES
    return np.quantile(library if library.size else everyone, levels)
