"""Any network: a table of edges, SIF, or GraphML."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import existing
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, GraphConfig, Paths
from perturbkit.graphs.lines import Layout, blocks, header_of, read_table, text_lines

_SOURCES = ("source", "source_gene", "tf", "regulator", "gene1", "entity1", "node1", "from")
_TARGETS = ("target", "target_gene", "gene2", "entity2", "node2", "to")
_WEIGHTS = ("weight", "importance", "score", "probability", "confidence")
_SIGNS = ("sign", "mor", "mode")
MAX_GRAPHML = 200_000_000
"""Larger GraphML is refused: the whole tree is held in memory."""


class EdgeListConfig(GraphConfig):
    """Settings of a table of edges."""

    directed: bool = True
    """whether the first column regulates the second"""
    source: str = ""
    """name of the first column; by default found among common names"""
    target: str = ""
    """name of the second column"""
    weight: str = ""
    """name of the column of weights; negative ones become negative signs"""


class SifConfig(GraphConfig):
    """Settings of SIF."""

    directed: bool = True
    """whether the first node regulates the others of its line"""
    relation: str = ""
    """only edges of this relation; empty: all"""


class GraphmlConfig(GraphConfig):
    """Settings of GraphML."""

    label: str = ""
    """the node attribute that holds gene names; empty: the nodes' ids"""
    weight: str = "weight"
    """the edge attribute of weights; edges without it weigh 1"""


def read(paths: Paths, config: EdgeListConfig) -> Graph:
    """Read a table with a header; comma, tab, semicolon or space separates.

    Raises:
        SchemaError: the two columns are not found, or lines are short.
    """
    path = paths["edges"]
    layout = _layout(path)
    header = header_of(path, layout)
    names = {
        "source": _column(header, config.source, _SOURCES, path, "source"),
        "target": _column(header, config.target, _TARGETS, path, "target"),
    }
    more = {config.weight or _first(header, _WEIGHTS): "weight", _first(header, _SIGNS): "sign"}
    if config.weight and config.weight not in header:
        _column(header, config.weight, (), path, "weight")
    more.pop("", None)
    needed = {**dict.fromkeys(names.values(), pl.String), **dict.fromkeys(more, pl.Float64)}
    table = read_table(path, needed, layout)
    columns = {k: table[v] for k, v in names.items()} | {v: table[k] for k, v in more.items()}
    return _signed(pl.DataFrame(columns), directed=config.directed, name=path.name.split(".")[0])


def _layout(path: Path) -> Layout:
    first = next(blocks(path, 1 << 16)).split(b"\n", 1)[0].decode("utf-8", errors="replace")
    best = max("\t,; ", key=lambda s: (first.count(s) > 0, -"\t,; ".index(s)))
    return Layout(best, quote='"', comment="#" if first.startswith("#") else "")


def _first(header: list[str], known: tuple[str, ...]) -> str:
    folded = {h.casefold(): h for h in header}
    return next((folded[k] for k in known if k in folded), "")


def _column(header: list[str], asked: str, known: tuple[str, ...], path: Path, setting: str) -> str:
    name = asked if asked in header else "" if asked else _first(header, known)
    if not name:
        message = (
            f"{path} has the columns {', '.join(header)[:200]}; "
            + (f"none is {asked!r}" if asked else f"none looks like a {setting}")
            + f": name one of them as `{setting}`"
        )
        raise SchemaError(message)
    return name


def _signed(table: pl.DataFrame, *, directed: bool, name: str) -> Graph:
    """Build the network; the sign of a weight becomes the edge's sign unless one is stated."""
    if "weight" in table.columns:
        weight = table["weight"].to_numpy()
        table = table.with_columns(weight=pl.Series(np.abs(weight)))
        if "sign" not in table.columns and (weight < 0).any():
            table = table.with_columns(sign=pl.Series(np.sign(weight).astype(np.int8)))
    if "sign" in table.columns:
        table = table.with_columns(sign=pl.col("sign").cast(pl.Float64).sign().cast(pl.Int8))
    return Graph.of(table, directed=directed, provenance=Provenance(name=name))


def read_sif(paths: Paths, config: SifConfig) -> Graph:
    """Read SIF: `node relation node [node ...]` on each line; a lone node has no edge.

    Raises:
        SchemaError: a line of two values, or no edge of the relation.
    """
    path, edges, nodes, relations = paths["edges"], [], {}, set()
    for number, line in text_lines(path):
        parts = [p.strip() for p in line.split("\t" if "\t" in line else None) if p.strip()]
        if len(parts) == 2:
            message = (
                f"{path}, line {number} is short: {line!r} names a relation and no target; "
                "a line of SIF is node, relation, node(s)"
            )
            raise SchemaError(message)
        nodes.update(dict.fromkeys([parts[0], *parts[2:]]))
        if len(parts) > 2:
            relations.add(parts[1])
            if config.relation in ("", parts[1]):
                edges += [(parts[0], other) for other in parts[2:]]
    if config.relation and config.relation not in relations:
        message = (
            f"{path} has no relation {config.relation!r}; "
            f"it has {', '.join(sorted(relations)[:8])}: set relation"
        )
        raise SchemaError(message)
    table = pl.DataFrame(edges, schema={"source": pl.String, "target": pl.String}, orient="row")
    about = Provenance(name=path.name.split(".")[0])
    return Graph.of(table, directed=config.directed, nodes=sorted(nodes), provenance=about)


def read_graphml(paths: Paths, config: GraphmlConfig) -> Graph:
    """Read GraphML; entities and document types are refused, as they can expand without end.

    Raises:
        FileError: not GraphML, too large, or with a document type.
        SchemaError: a node lacks the attribute that names it.
    """
    import networkx as nx

    path = existing(paths["edges"])
    text = b"".join(_limited(path))
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        message = f"{path} declares a document type or entities, which GraphML never needs; " \
                  "remove that line"  # fmt: skip
        raise FileError(message)
    try:
        network = nx.parse_graphml(text.decode("utf-8"))
    except (nx.NetworkXError, SyntaxError, KeyError, ValueError) as error:
        message = f"{path} is not a whole GraphML file ({error}); export it again"
        raise FileError(message) from error
    label = {n: _label(n, data, config.label, path) for n, data in network.nodes(data=True)}
    edges = [(label[a], label[b], float(d.get(config.weight, 1)))
             for a, b, d in network.edges(data=True)]  # fmt: skip
    schema = {"source": pl.String, "target": pl.String, "weight": pl.Float64}
    table = pl.DataFrame(edges, schema=schema, orient="row")
    weight = table["weight"].to_numpy()
    table = table.with_columns(
        weight=pl.Series(np.abs(weight)), sign=pl.Series(np.where(weight < 0, -1, 0))
    )
    about = Provenance(name=path.name.split(".")[0])
    directed: Literal[True, False] = bool(network.is_directed())
    return Graph.of(table, directed=directed, nodes=sorted(set(label.values())), provenance=about)


def _limited(path: Path) -> Any:
    total = 0
    for block in blocks(path):
        total += len(block)
        if total > MAX_GRAPHML:
            message = f"{path} unpacks to more than {MAX_GRAPHML:,} bytes; save it as a table"
            raise FileError(message)
        yield block


def _label(node: Any, data: dict[str, Any], name: str, path: Path) -> str:
    if not name:
        return str(node)
    if name not in data:
        message = f"{path}: node {node!r} has no attribute {name!r}; it has {', '.join(data)}"
        raise SchemaError(message)
    return str(data[name])


edge_list = GraphCard(
    name="edge_list",
    summary="any table of edges with a header: source, target, weight, sign",
    source="the common exchange form; decoupler's source, target, weight",
    read=read,
    config=EdgeListConfig,
    files={"edges": ("*edges*", "*.tsv*", "*.csv*", "*.txt*")},
    directed=True,
    licence="that of the file",
)
sif = GraphCard(
    name="sif",
    summary="Cytoscape's simple interaction format",
    source="manual.cytoscape.org, Supported Network File Formats",
    read=read_sif,
    config=SifConfig,
    files={"edges": ("*.sif*",)},
    directed=True,
    licence="that of the file",
)
graphml = GraphCard(
    name="graphml",
    summary="GraphML, as networkx, igraph and Cytoscape write it",
    source="graphml.graphdrawing.org",
    read=read_graphml,
    config=GraphmlConfig,
    files={"edges": ("*.graphml*",)},
    licence="that of the file",
)
