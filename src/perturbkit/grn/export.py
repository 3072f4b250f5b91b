"""Networks as files: tab-separated, GraphML for graph tools, SIF for Cytoscape."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.errors import FileError
from perturbkit.core.files import atomic_path, existing, write_text
from perturbkit.core.graph import Graph

COLUMNS = ("source", "target", "weight", "sign", "probability", "fdr")
"""The first columns of every table; empty where a method does not give them."""


def edge_table(graph: Graph) -> pl.DataFrame:
    """Return the edges by name, strongest first, with COLUMNS and then what else there is."""
    table = graph.table()
    absent = [
        pl.lit(None, pl.Float32).alias(n) for n in ("probability", "fdr") if n not in table.columns
    ]
    return table.with_columns(absent).select(*COLUMNS, pl.exclude(*COLUMNS))


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a network in the format its suffix names: .tsv, .csv, .graphml or .sif.

    Raises:
        FileError: another suffix, or the file cannot be written.
    """
    _WRITERS[checked_suffix(path)](graph, Path(path))


def load_graph(path: str | Path) -> Graph:
    """Read a network that `save_graph` wrote, or any table of edges, SIF or GraphML.

    A table's columns `probability` and `fdr` are kept, where every edge has them.

    Raises:
        FileError: missing, cut short, or another suffix.
        SchemaError: the columns of sources and targets are not found.
    """
    from perturbkit.graphs.read import read_graph

    path = existing(path, "network file")
    names = [s for s in path.suffixes if s != ".gz"]
    suffix = names[-1].lower() if names else ""
    if suffix in (".sif", ".graphml"):
        return read_graph(suffix[1:], path)
    if suffix not in (".tsv", ".csv", ".txt"):
        message = f"{path} ends in {suffix or 'no suffix'!r}; networks end in {', '.join(_WRITERS)}"
        raise FileError(message)
    graph = read_graph("edge_list", path)
    separator = "," if suffix == ".csv" else "\t"
    table = pl.read_csv(path, separator=separator, infer_schema_length=None)
    if not {"source", "target"} <= set(table.columns):
        return graph
    more = [c for c in ("probability", "fdr") if c in table.columns]
    kept = [c for c in more if table[c].dtype.is_numeric() and not table[c].null_count()]
    place = {pair: i for i, pair in enumerate(table.select("source", "target").iter_rows())}
    ends = np.array(graph.nodes.names, dtype=object)
    order = [place[pair] for pair in zip(ends[graph.source], ends[graph.target], strict=True)]
    return replace(graph, columns={c: table[c].to_numpy()[order] for c in kept})


def checked_suffix(path: str | Path) -> str:
    """Return the suffix in lower case, or raise FileError if no format has it."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        message = f"{path} ends in {suffix or 'no suffix'!r}; end it in {', '.join(_WRITERS)}"
        raise FileError(message)
    return suffix


def _write_tsv(graph: Graph, path: Path) -> None:
    with atomic_path(path) as temporary:
        edge_table(graph).write_csv(temporary, separator="\t")


def _write_csv(graph: Graph, path: Path) -> None:
    with atomic_path(path) as temporary:
        edge_table(graph).write_csv(temporary)


def _write_sif(graph: Graph, path: Path) -> None:
    """Write `source relation target` lines; the relation says the sign, or `pp` without one."""
    names = np.array(graph.nodes.names, dtype=object)
    relation = {1: "activates", -1: "represses", 0: "regulates" if graph.directed else "pp"}
    order = np.argsort(-graph.weight, kind="stable")
    lines = [
        f"{names[graph.source[e]]}\t{relation[int(graph.sign[e])]}\t{names[graph.target[e]]}\n"
        for e in order
    ]
    write_text(path, "".join(lines))


def _write_graphml(graph: Graph, path: Path) -> None:
    import networkx as nx

    with atomic_path(path) as temporary:
        nx.write_graphml_xml(as_networkx(graph), temporary, named_key_ids=True)


def as_networkx(graph: Graph):  # noqa: ANN201  (networkx is imported late)
    """Return the nodes with edges as a networkx graph, attributes on the edges."""
    import networkx as nx

    result = nx.DiGraph() if graph.directed else nx.Graph()
    for row in graph.table().iter_rows(named=True):
        source, target = row.pop("source"), row.pop("target")
        result.add_edge(source, target, **{k: v for k, v in row.items() if v is not None})
    return result


_WRITERS: dict[str, Callable[[Graph, Path], None]] = {
    ".tsv": _write_tsv, ".csv": _write_csv, ".graphml": _write_graphml, ".sif": _write_sif,
}  # fmt: skip
