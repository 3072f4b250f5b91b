"""The Graph: weighted, signed edges over named genes. Prior networks and inferred ones alike."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from scipy import sparse

from perturbkit.core.errors import SchemaError
from perturbkit.core.files import atomic_path
from perturbkit.core.vocabulary import Vocabulary


@dataclass(frozen=True)
class Provenance:
    """Where a graph comes from; empty fields mean not known."""

    name: str = ""
    version: str = ""
    species: str = ""
    licence: str = ""
    sha256: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """Edges over named nodes, aligned by name; build one with `Graph.of`."""

    nodes: Vocabulary
    """every node, also those without an edge"""
    source: np.ndarray
    """int32 [e], positions in `nodes`: the regulator in a directed graph"""
    target: np.ndarray
    """int32 [e], positions in `nodes`"""
    weight: np.ndarray
    """float32 [e], strength of the edge, larger is stronger, never negative"""
    sign: np.ndarray
    """int8 [e]: +1 activates, -1 represses, 0 not known"""
    directed: bool
    """whether (a, b) differs from (b, a); undirected edges are stored once"""
    provenance: Provenance = field(default_factory=Provenance)
    """name, version, species, licence, checksum"""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """further values for each edge, such as `probability` and `fdr` of an inferred network"""

    def __post_init__(self) -> None:
        types = {"source": np.int32, "target": np.int32, "weight": np.float32, "sign": np.int8}
        for name, dtype in types.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        n_edges = len(self.source)
        for name, values in {**{n: getattr(self, n) for n in types}, **self.columns}.items():
            if len(values) != n_edges:
                message = f"{name} has {len(values)} values for {n_edges} edges"
                raise SchemaError(message)
        ends = np.concatenate([self.source, self.target])
        if n_edges and (ends.min() < 0 or ends.max() >= len(self.nodes)):
            message = "an edge ends at a node that is not listed; list every node"
            raise SchemaError(message)
        if not np.isfinite(self.weight).all() or (self.weight < 0).any():
            message = "an edge weight is negative or not finite; signs go to `sign`"
            raise SchemaError(message)
        codes = self._codes()
        if len(np.unique(codes)) != n_edges:
            message = "an edge occurs more than once; merge repeated edges before"
            raise SchemaError(message)

    def _codes(self) -> np.ndarray:
        a, b = self.source.astype(np.int64), self.target.astype(np.int64)
        if not self.directed:
            a, b = np.minimum(a, b), np.maximum(a, b)
        return a * len(self.nodes) + b

    @classmethod
    def of(
        cls,
        edges: pl.DataFrame,
        *,
        directed: bool,
        nodes: Iterable[str] | None = None,
        provenance: Provenance | None = None,
    ) -> "Graph":
        """Build from a table of names; repeated edges are merged, self-loops dropped.

        Of repeated edges the largest weight and its sign stay.

        Args:
            edges: columns `source`, `target`, and optionally `weight` (1), `sign` (0), others.
            directed: whether direction matters.
            nodes: all nodes in order; by default the ends of the edges, sorted.
            provenance: where the graph comes from.

        Raises:
            SchemaError: columns missing, or a node that is not in `nodes`.
        """
        missing = [c for c in ("source", "target") if c not in edges.columns]
        if missing:
            message = f"found the columns {', '.join(edges.columns)}; edges need source and target"
            raise SchemaError(message)
        if "weight" not in edges.columns:
            edges = edges.with_columns(weight=pl.lit(1.0))
        if "sign" not in edges.columns:
            edges = edges.with_columns(sign=pl.lit(0))
        ends = pl.concat([edges["source"].cast(pl.String), edges["target"].cast(pl.String)])
        vocabulary = Vocabulary(ends.unique().sort() if nodes is None else nodes, "node")
        a = vocabulary.encode(edges["source"]) if edges.height else np.zeros(0, np.int64)
        b = vocabulary.encode(edges["target"]) if edges.height else np.zeros(0, np.int64)
        low, high = (a, b) if directed else (np.minimum(a, b), np.maximum(a, b))
        # strongest first; unique keeps the first
        order = np.argsort(-edges["weight"].to_numpy().astype(float), kind="stable")
        order = order[(a != b)[order]]
        _, first = np.unique((low * len(vocabulary) + high)[order], return_index=True)
        keep = np.sort(order[first])
        others = [c for c in edges.columns if c not in ("source", "target", "weight", "sign")]
        return cls(
            vocabulary, a[keep], b[keep], edges["weight"].to_numpy()[keep],
            edges["sign"].to_numpy()[keep], directed, provenance or Provenance(),
            {c: edges[c].to_numpy()[keep] for c in others},
        )  # fmt: skip

    @property
    def n_edges(self) -> int:
        """How many edges there are; undirected ones count once."""
        return len(self.source)

    @cached_property
    def adjacency(self) -> sparse.csr_array:
        """The weights as a matrix [source, target], symmetric where undirected, float32."""
        a, b, w = self.source, self.target, self.weight
        if not self.directed:
            a, b, w = np.r_[a, b], np.r_[b, a], np.r_[w, w]
        n = len(self.nodes)
        return sparse.csr_array((w, (a, b)), shape=(n, n), dtype=np.float32)

    @property
    def degree(self) -> np.ndarray:
        """How many edges touch each node, int64 [nodes]."""
        ends = np.concatenate([self.source, self.target])
        return np.bincount(ends, minlength=len(self.nodes))

    def select(self, edges: np.ndarray) -> Self:
        """Return some edges, by positions or a boolean mask, over the same nodes."""
        return replace(
            self, source=self.source[edges], target=self.target[edges],
            weight=self.weight[edges], sign=self.sign[edges],
            columns={k: v[edges] for k, v in self.columns.items()},
        )  # fmt: skip

    def within(self, nodes: Vocabulary) -> Self:
        """Return the graph over exactly these nodes: edges with an end elsewhere are dropped."""
        place = nodes.find(self.nodes)
        a, b = place[self.source], place[self.target]
        inside = (a >= 0) & (b >= 0)
        kept = self.select(inside)
        return replace(kept, nodes=nodes, source=a[inside], target=b[inside])

    def table(self) -> pl.DataFrame:
        """Return the edges by name, strongest first: source, target, weight, sign, others."""
        names = np.array(self.nodes.names, dtype=object)
        columns: dict[str, Any] = {
            "source": names[self.source], "target": names[self.target],
            "weight": self.weight, "sign": self.sign, **self.columns,
        }  # fmt: skip
        schema = {"source": pl.String, "target": pl.String}
        frame = pl.DataFrame(columns, schema_overrides=schema)
        return frame.sort("weight", descending=True, maintain_order=True)

    def save(self, path: str | Path) -> None:
        """Write the edges as a tab-separated table, strongest first, atomically."""
        with atomic_path(path) as temporary:
            self.table().write_csv(temporary, separator="\t")

    def about(self) -> dict[str, Any]:
        """Return sizes and provenance as plain values."""
        return {"n_nodes": len(self.nodes), "n_edges": self.n_edges, "directed": self.directed,
                "n_isolated": int((self.degree == 0).sum()), **asdict(self.provenance)}  # fmt: skip

    def __repr__(self) -> str:
        name = self.provenance.name or "graph"
        arrow = "directed" if self.directed else "undirected"
        return f"Graph({name}: {len(self.nodes):,} nodes, {self.n_edges:,} {arrow} edges)"
