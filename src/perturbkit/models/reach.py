"""Where a perturbation reaches: its own readout, and readouts one and two edges away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.card import State

_MOST_READOUTS = 5000
"""with more readouts paths of two edges are left out: they would fill the memory"""


@dataclass(frozen=True, eq=False)
class Reach:
    """For each target and kind of path, how strongly each readout is reached."""

    names: Vocabulary
    """targets anything is known of"""
    readouts: Vocabulary
    kinds: tuple[str, ...]
    """`own`, then `NETWORK 1`, `NETWORK 2` and, where edges have signs, `NETWORK 1 signed`, ..."""
    matrices: tuple[sparse.csr_array, ...]
    """one for each kind, float32 [names, readouts]"""

    @classmethod
    def of(cls, readouts: Vocabulary, graphs: Mapping[str, Graph] | None = None) -> Self:
        """Follow the edges of networks; directed ones are followed forwards only."""
        graphs = graphs or {}
        nodes = [n for g in graphs.values() for n in g.nodes]
        names = Vocabulary(dict.fromkeys([*readouts, *nodes]), "target")
        n, column = len(names), names.encode(readouts)
        kinds, matrices = ["own"], [sparse.csr_array(sparse.eye_array(n, format="csr")[:, column])]
        for name, graph in graphs.items():
            inside = graph.within(names)
            signs = [("", np.ones(inside.n_edges))]
            if inside.sign.any() and inside.directed:
                signs.append((" signed", inside.sign.astype(float)))
            for word, sign in signs:
                one = _normal(inside, sign)
                kinds.append(f"{name} 1{word}")
                matrices.append(one[:, column])
                if len(readouts) <= _MOST_READOUTS:
                    two = sparse.csr_array(one @ one[:, column])
                    back = two.multiply(matrices[0])  # not back to the start
                    kinds.append(f"{name} 2{word}")
                    matrices.append(sparse.csr_array(two - back))
        typed = tuple(sparse.csr_array(m, dtype=np.float32) for m in matrices)
        return cls(names, readouts, tuple(kinds), typed)

    def knows(self, target: str) -> bool:
        """Whether anything can be said of a target: it is a readout, or has an edge."""
        i = self.names.index_of.get(target, -1)
        return i >= 0 and any(m.indptr[i + 1] > m.indptr[i] for m in self.matrices)

    def of_targets(
        self, targets_q: Sequence[tuple[str, ...]], strength_q: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Return how each condition reaches each readout, float32 [kinds, q, g].

        Args:
            targets_q: the targets of each condition; unknown ones reach nothing.
            strength_q: how strongly each of them acts along edges, as long as the targets; the
                own readout is reached with strength 1.
        """
        rows = np.repeat(np.arange(len(targets_q)), [len(t) for t in targets_q])
        place = self.names.find(t for targets in targets_q for t in targets)
        strength = np.concatenate([*strength_q, np.zeros(0)])
        known = place >= 0
        shape = (len(targets_q), len(self.names))
        at = (rows[known], place[known])
        once = sparse.csr_array((np.ones(int(known.sum()), np.float32), at), shape)
        scaled = sparse.csr_array((strength[known].astype(np.float32), at), shape)
        picks = [once, *[scaled] * (len(self.kinds) - 1)]
        parts = [(p @ m).toarray() for p, m in zip(picks, self.matrices, strict=True)]
        return np.stack(parts).astype(np.float32)

    def state(self) -> State:
        """Return the matrices' parts, and the names."""
        arrays = {}
        for i, m in enumerate(self.matrices):
            arrays |= {f"{i}.data": m.data, f"{i}.indices": m.indices.astype(np.int32),
                       f"{i}.indptr": m.indptr.astype(np.int64)}  # fmt: skip
        about = {"names": list(self.names), "readouts": list(self.readouts),
                 "kinds": list(self.kinds)}  # fmt: skip
        return arrays, about

    @classmethod
    def restore(cls, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, about = state
        shape = (len(about["names"]), len(about["readouts"]))
        matrices = tuple(
            sparse.csr_array(
                (arrays[f"{i}.data"], arrays[f"{i}.indices"], arrays[f"{i}.indptr"]), shape
            )
            for i in range(len(about["kinds"]))
        )
        names = Vocabulary(about["names"], "target")
        readouts = Vocabulary(about["readouts"], "readout")
        return cls(names, readouts, tuple(about["kinds"]), matrices)


def _normal(graph: Graph, sign_e: np.ndarray) -> sparse.csr_array:
    """Return D_out^-1/2 A D_in^-1/2 with signs, so that hubs do not drown the others."""
    n = len(graph.nodes)
    top = float(graph.weight.max(initial=0)) or 1.0
    a, b, w = graph.source, graph.target, graph.weight / top
    if not graph.directed:
        a, b, w, sign_e = np.r_[a, b], np.r_[b, a], np.r_[w, w], np.r_[sign_e, sign_e]
    out = np.sqrt(np.bincount(a, w, n) + 1e-9)
    into = np.sqrt(np.bincount(b, w, n) + 1e-9)
    values = (w * sign_e / (out[a] * into[b])).astype(np.float32)
    return sparse.csr_array((values, (a, b)), shape=(n, n))
