"""The prior network of HyperPerturb: catalogued ones and tables of edges, joined."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from perturbkit.core.graph import Graph, Provenance
from perturbkit.design.agents.topologies import read_topology
from perturbkit.graphs import GRAPHS
from perturbkit.graphs.read import read_graph


def prior_network(names: Iterable[str], folder: str | Path | None = None) -> Graph | None:
    """Return the union of networks, or None where none is named.

    Args:
        names: names of the catalogue, or paths of tables of edges.
        folder: where catalogued networks' files lie; by default the folder of downloads.

    Raises:
        UnknownNameError: neither a name nor an existing file.
        FileError: a file is missing.
    """
    found = []
    for name in names:
        is_file = name not in GRAPHS and Path(name).exists()
        found.append(read_topology(name) if is_file else read_graph(name, folder))
    if len(found) < 2:
        return found[0] if found else None
    tables = [g.table().select("source", "target") for g in found]
    about = Provenance(name="+".join(g.provenance.name for g in found))
    return Graph.of(pl.concat(tables), directed=False, provenance=about)
