"""Control cells that a fitted model keeps, so that it can answer with cells later."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from perturbkit.core.condition import CONTROL
from perturbkit.core.errors import UnknownNameError, unknown_name
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.card import State
from perturbkit.models.cells import CellData


@dataclass(frozen=True, eq=False)
class ControlCells:
    """Some control cells of each context, dense, in the unit of the profiles or in counts."""

    contexts: Vocabulary
    x_ng: np.ndarray
    """float32 [cells, readouts], context after context"""
    ends: np.ndarray
    """int64 [contexts + 1]: where the cells of each context begin, and the end"""

    @classmethod
    def of(cls, cells: CellData, most: int, rng: np.random.Generator, *, log: bool) -> Self:
        """Draw control cells of each context that has some among the training cells.

        Args:
            cells: the cells of a screen.
            most: cells of one context at most.
            rng: the draw.
            log: whether to normalize counts to log1p per ten thousand; other units stay.
        """
        store, table = cells.store, cells.store.conditions
        is_control = (table["perturbation"] == CONTROL).to_numpy()
        context_c = table["context"].to_numpy()
        kept = np.concatenate([cells.train_n, cells.val_n])
        kept = np.sort(kept[is_control[store.arrays["condition"][kept]]])
        context_n = context_c[store.arrays["condition"][kept]]
        names = list(dict.fromkeys(context_n.tolist()))
        parts = []
        for name in names:
            rows = kept[context_n == name]
            few = rng.permutation(rows)[:most] if rows.size > most else rows
            parts.append(np.sort(few))
        ends = np.cumsum([0, *(p.size for p in parts)]).astype(np.int64)
        rows = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        x_ng = store.dense(rows, log=log and store.unit == "counts")
        return cls(Vocabulary(names, "context"), x_ng, ends)

    def draw(self, context: str, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` control cells of a context, float32 [n, g]; none twice before all once.

        Raises:
            UnknownNameError: no control cell of that context is kept.
        """
        if context not in self.contexts:
            raise UnknownNameError(str(unknown_name("context", context, self.contexts)))
        low, high = self._bounds(context)
        rounds = [rng.permutation(high - low) for _ in range(-(-n // (high - low)))]
        return self.x_ng[low + np.concatenate([*rounds, np.zeros(0, np.int64)]).astype(int)[:n]]

    def representative(self, context: str, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` control cells that together lie near all of the context's, float32 [n, g].

        After a first one that `rng` draws, each is the kept cell that brings the energy distance
        to all of them down most. Mean and spread of such a set err less than those of independent
        draws, so it is no sample to test hypotheses on. None comes twice before all came once.

        Raises:
            UnknownNameError: no control cell of that context is kept.

        Source:
            Support points (Mak & Joseph 2018, Annals of Statistics 46:2562), greedily from the
            cells themselves.
        """
        x_ng = self.all_of(context)
        whole, rest = divmod(n, len(x_ng))
        order = np.concatenate([np.tile(np.arange(len(x_ng)), whole), _near(x_ng, rest, rng)])
        return x_ng[order.astype(int)]

    def all_of(self, context: str) -> np.ndarray:
        """Return every kept control cell of a context, [n, g].

        Raises:
            UnknownNameError: none is kept.
        """
        if context not in self.contexts:
            raise UnknownNameError(str(unknown_name("context", context, self.contexts)))
        low, high = self._bounds(context)
        return self.x_ng[low:high]

    def _bounds(self, context: str) -> tuple[int, int]:
        i = int(self.contexts.find([context])[0])
        return int(self.ends[i]), int(self.ends[i + 1])

    def state(self) -> State:
        """Return the cells as stored values and their places, and the contexts."""
        rows, columns = np.nonzero(self.x_ng)
        arrays = {
            "values": self.x_ng[rows, columns], "columns": columns.astype(np.int32),
            "sizes": np.bincount(rows, minlength=len(self.x_ng)).astype(np.int64),
            "ends": self.ends,
        }  # fmt: skip
        return arrays, {"contexts": list(self.contexts), "n_readouts": self.x_ng.shape[1]}

    @classmethod
    def restore(cls, state: State) -> Self:
        """Rebuild from `state`, equal to the bit."""
        arrays, about = state
        x_ng = np.zeros((len(arrays["sizes"]), about["n_readouts"]), np.float32)
        rows = np.repeat(np.arange(len(arrays["sizes"])), arrays["sizes"])
        x_ng[rows, arrays["columns"]] = arrays["values"]
        return cls(Vocabulary(about["contexts"], "context"), x_ng, arrays["ends"])


def _near(x_ng: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` positions of cells, chosen one after the other for the least energy distance."""
    norms = np.square(x_ng).sum(1)
    squared = norms[:, None] + norms - 2 * (x_ng @ x_ng.T)
    distance = np.sqrt(np.maximum(squared, 0))
    to_all, to_chosen = distance.mean(1), np.zeros(len(x_ng))
    chosen: list[int] = []
    for step in range(n):
        gain = to_chosen / (step + 1) - to_all
        gain[chosen] = -np.inf
        chosen.append(int(np.argmax(gain)) if step else int(rng.integers(len(x_ng))))
        to_chosen += distance[:, chosen[-1]]
    return np.array(chosen, np.int64)
