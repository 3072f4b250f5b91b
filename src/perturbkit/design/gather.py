"""Knowledge of a pool from files: networks and gene sets in a folder, or the pool's own columns."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.errors import FileError
from perturbkit.core.graph import Graph
from perturbkit.design.knowledge import Knowledge, knowledge_of, standard, standard_columns
from perturbkit.graphs.read import read_graph

NETWORKS, SETS = ("string", "humap"), ("reactome", "go")
_NOT_FEATURES = frozenset({"key", "cost", "dose_um", "time_h"})


def read_networks(folder: str | Path) -> tuple[dict[str, Graph], dict[str, Graph]]:
    """Read those of STRING, hu.MAP, Reactome and GO that are in a folder.

    Raises:
        FileError: none is there.
    """
    found: tuple[dict[str, Graph], dict[str, Graph]] = ({}, {})
    missing = []
    for names, place, settings in ((NETWORKS, found[0], {}), (SETS, found[1], {"as_sets": True})):
        for name in names:
            try:
                place[name] = read_graph(name, folder, **settings)
            except FileError as error:
                missing.append(str(error))
    if not found[0]:
        message = f"{folder} has neither STRING nor hu.MAP; {missing[0]}"
        raise FileError(message)
    return found


@dataclass(frozen=True)
class Hints:
    """What is known of genes beside networks; values of screens by screen and gene."""

    essentials: Collection[str] = ()
    """published common essential genes"""
    earlier: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """earlier screens of a related readout, larger where a hit is likelier: part of the prior"""
    others: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """screens of other readouts, larger where extreme; the outcomes decide their weight"""
    expressed: Mapping[str, Collection[str]] = field(default_factory=dict)
    """lists of genes that the cells express, by name"""


def gather(
    genes: Sequence[str],
    folder: str | Path,
    rng: np.random.Generator,
    hints: Hints | None = None,
    *,
    width: int = 128,
) -> Knowledge:
    """Gather what a folder of networks says of a pool of genes, and what lists and screens say.

    Args:
        genes: the pool.
        folder: with STRING, hu.MAP, Reactome and GO files, or some of them.
        rng: starts the iterations of the embeddings.
        hints: lists of genes and measured screens.
        width: of each embedding.
    """
    hints = hints or Hints()
    networks, sets = read_networks(folder)
    known = knowledge_of(genes, networks, sets, rng, essentials=hints.essentials, width=width)
    for name, values in hints.earlier.items():
        known = known.with_earlier(name, _in_order(values, genes))
    for name, listed in hints.expressed.items():
        known = known.with_expressed(name, listed, genes)
    for name, values in hints.others.items():
        known = known.with_other(name, _in_order(values, genes))
    return known


def _in_order(values: Mapping[str, float], genes: Sequence[str]) -> np.ndarray:
    return np.array([values.get(g, np.nan) for g in genes])


def from_columns(pool: pl.DataFrame) -> Knowledge:
    """Return the pool's own numeric columns as features; their prior is flat."""
    columns = [
        c for c, t in zip(pool.columns, pool.dtypes, strict=True)
        if t.is_numeric() and c not in _NOT_FEATURES
    ]  # fmt: skip
    values = [standard(pool[c].cast(pl.Float64).fill_null(0.0).to_numpy()) for c in columns]
    flat = np.zeros(pool.height)
    x = np.stack(values or [flat], 1).astype(np.float32)
    return Knowledge(x, {}, flat, ("the columns of the pool",), (x,), standard_columns(x))
