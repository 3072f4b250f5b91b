"""What the training cells say of each condition: sums, never the cells themselves."""

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
from scipy import sparse

from perturbkit.core.condition import condition_keys
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.cells import CellData

N_LIBRARIES = 16
"""quantiles of the control cells' totals that stand for all of them"""
ADDED = ("size_cb", "square_c", "sum_cg", "n_cb", "response_cg", "square_g", "control_kbg",
         "control_kb", "response_kbg", "control_n_kb")  # fmt: skip
"""sums over cells: those of disjoint sets of cells add up"""


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
    response_cg: np.ndarray
    """sum of the responses, in the unit of the profiles"""
    square_g: np.ndarray
    """sum of the squared responses of all cells"""
    control_kbg: np.ndarray
    """sum of the values of control cells by context and batch"""
    control_kb: np.ndarray
    """their total counts, or cells"""
    response_kbg: np.ndarray
    """sum of the responses of those control cells"""
    control_n_kb: np.ndarray
    """their number"""
    library_kl: np.ndarray
    """quantiles of the totals of a context's control cells"""
    quarters: "tuple[Totals, ...] | None" = None
    """the same of four disjoint parts: two halves of the cells that networks are trained on, and
    two of those that only validate; a part has no parts"""

    @classmethod
    def of(cls, cells: CellData, contexts: Vocabulary, *, counts: bool) -> "Totals":
        """Sum over every cell of the training conditions, a block at a time.

        Args:
            cells: the cells of a screen.
            contexts: those of the training cells.
            counts: whether the values are counts.
        """
        store = cells.store
        position = cells.profiles.find(condition_keys(store.conditions))
        rows = np.union1d(cells.train_n, cells.val_n)
        rows = rows[position[store.arrays["condition"][rows]] >= 0]
        apart = np.isin(rows, cells.val_n)
        # every other cell of each condition and batch, in the order of the screen
        kind = np.stack([store.arrays["condition"][rows], store.arrays["batch"][rows], apart])
        second = np.empty(rows.size, bool)
        second[np.lexsort(kind)] = np.arange(rows.size) % 2 == 1
        parts = [cls._of_rows(cells, rows[(apart == a) & (second == s)], contexts, counts=counts)
                 for a in (False, True) for s in (False, True)]  # fmt: skip
        whole = joined(*(totals for totals, _ in parts))
        by_context = zip(*(libraries for _, libraries in parts), strict=True)
        library_kl = _quantiles([np.concatenate(of_k) for of_k in by_context])
        quarters = tuple(replace(totals, library_kl=library_kl) for totals, _ in parts)
        response = cells.profiles.mean_cg * whole.n_c[:, None]
        return replace(whole, library_kl=library_kl, response_cg=response, quarters=quarters)

    @classmethod
    def _of_rows(
        cls, cells: CellData, rows: np.ndarray, contexts: Vocabulary, *, counts: bool
    ) -> "tuple[Totals, list[np.ndarray]]":
        """Sum over some cells; beside it the totals of each context's control cells."""
        store, profiles = cells.store, cells.profiles
        code = profiles.find(condition_keys(store.conditions))[store.arrays["condition"][rows]]
        batch = store.arrays["batch"][rows]
        n_c, n_b, n_g = len(profiles.keys), len(store.batches), len(store.readouts)
        context = contexts.find(profiles.contexts)[code]
        control = profiles.is_control[code]
        stratum = np.where(control, context * n_b + batch, -1)
        n_s = len(contexts) * n_b
        sums, responses = np.zeros((n_c, n_g)), np.zeros((n_c, n_g))
        of_control, response, squares = np.zeros((n_s, n_g)), np.zeros((n_s, n_g)), np.zeros(n_g)
        library = np.ones(rows.size)
        for low in range(0, rows.size, 2048):
            part = slice(low, low + 2048)
            y = store.dense(rows[part], log=store.unit == "counts").astype(np.float64)
            x = store.dense(rows[part]).astype(np.float64) if counts else y
            member, of_stratum = _members(code[part], n_c), _members(stratum[part], n_s)
            sums += member @ x
            responses += member @ y
            squares += (y**2).sum(0)
            of_control += of_stratum @ x
            response += of_stratum @ y
            if counts:
                library[part] = x.sum(1)
        n_cb, size_cb = np.zeros((n_c, n_b)), np.zeros((n_c, n_b))
        np.add.at(n_cb, (code, batch), 1)
        np.add.at(size_cb, (code, batch), library)
        n_s_c = np.bincount(stratum[control], minlength=n_s).astype(np.float64)
        size_s = np.bincount(stratum[control], library[control], n_s)
        shape = (len(contexts), n_b)
        libraries = [library[control & (context == k)] for k in range(len(contexts))]
        return cls(
            tuple(profiles.keys), size_cb, np.bincount(code, library**2, n_c), sums, n_cb,
            responses, squares, of_control.reshape(*shape, n_g), size_s.reshape(shape),
            response.reshape(*shape, n_g), n_s_c.reshape(shape), np.zeros(0),
        ), libraries  # fmt: skip

    @property
    def n_c(self) -> np.ndarray:
        """Cells of each condition."""
        return self.n_cb.sum(1)

    @property
    def mean_cg(self) -> np.ndarray:
        """Mean response in the unit of the profiles; 0 without a cell."""
        return self.response_cg / np.maximum(self.n_c, 1)[:, None]

    @property
    def spread_g(self) -> np.ndarray:
        """Variance within conditions, in the unit of the profiles."""
        within = self.square_g - (self.response_cg * self.mean_cg).sum(0)
        return np.maximum(within / max(self.n_c.sum() - len(self.keys), 1), 1e-8)

    @cached_property
    def halves(self) -> "tuple[Totals, Totals]":
        """Two disjoint halves of each condition's cells."""
        parts = self.quarters or ()
        return joined(*parts[::2]), joined(*parts[1::2])

    @cached_property
    def learned(self) -> "Totals":
        """The cells that networks are trained on."""
        return joined(*(self.quarters or ())[:2])

    @cached_property
    def apart(self) -> "Totals":
        """The cells of the same conditions that networks are not trained on."""
        return joined(*(self.quarters or ())[2:])

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays, and the keys as plain values."""
        arrays = {n: getattr(self, n) for n in (*ADDED, "library_kl")}
        for i, part in enumerate(self.quarters or ()):
            arrays |= {f"part{i}.{n}": getattr(part, n) for n in ADDED}
        return arrays, {"keys": list(self.keys)}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> "Totals":
        """Rebuild from `state`."""
        keys, library_kl = tuple(about["keys"]), arrays["library_kl"]

        def part(prefix: str) -> Totals:
            sums: dict[str, Any] = {n: arrays[prefix + n] for n in ADDED}
            return cls(keys=keys, library_kl=library_kl, **sums)

        return replace(part(""), quarters=tuple(part(f"part{i}.") for i in range(4)))


def joined(*parts: Totals) -> Totals:
    """Return the totals of disjoint sets of cells together."""

    def both(a: Totals, b: Totals) -> Totals:
        return replace(a, **{n: getattr(a, n) + getattr(b, n) for n in ADDED})

    return reduce(both, parts)


def _members(code_n: np.ndarray, n_groups: int) -> sparse.csr_array:
    """Return ones where a cell is in a group, [groups, n]; a negative code is in none."""
    cell = np.flatnonzero(code_n >= 0)
    ones = np.ones(len(cell))
    return sparse.csr_array((ones, (code_n[cell], cell)), shape=(n_groups, len(code_n)))


def _quantiles(library_k: list[np.ndarray]) -> np.ndarray:
    """Return quantiles of the control cells' totals of each context, of all where it has none."""
    levels = (np.arange(N_LIBRARIES) + 0.5) / N_LIBRARIES
    everyone = np.concatenate(library_k)
    everyone = everyone if everyone.size else np.ones(1)
    return np.stack([np.quantile(one if one.size else everyone, levels) for one in library_k])
