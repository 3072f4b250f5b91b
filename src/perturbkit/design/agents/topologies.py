"""Real directed networks as wiring of simulated worlds: a catalogued file or a table of edges."""

from pathlib import Path

import polars as pl

from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import existing
from perturbkit.core.graph import Graph, Provenance

LEAST_EDGES = 50
ENDS = (("source", "target"), ("tf", "target"), ("regulator", "target"))


def read_topology(path: str | Path) -> Graph:
    """Read a table of directed edges: source (or tf, regulator), target, and optionally sign.

    YEASTRACT's, DREAM's and regulons exported by `perturbkit explain` are such tables.

    Raises:
        FileError: missing or not a table.
        SchemaError: columns missing, or fewer than 50 edges.
    """
    file = existing(path, "table of edges")
    separator = "\t" if ".tsv" in file.suffixes or ".txt" in file.suffixes else ","
    try:
        table = pl.read_csv(file, separator=separator, infer_schema_length=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        message = f"{file} is no table ({error}); give edges as CSV or TSV"
        raise FileError(message) from error
    names = {c.strip().lower(): c for c in table.columns}
    ends = next((e for e in ENDS if set(e) <= set(names)), None)
    if ends is None:
        message = (
            f"{file} has the columns {', '.join(table.columns[:6])}; edges need source (or tf) "
            "and target"
        )
        raise SchemaError(message)
    columns = {names[ends[0]]: "source", names["target"]: "target"}
    if "sign" in names:
        columns[names["sign"]] = "sign"
    edges = table.select(*columns).rename(columns).drop_nulls(["source", "target"])
    edges = edges.with_columns(pl.col("source", "target").cast(pl.String))
    graph = Graph.of(edges, directed=True, provenance=Provenance(name=file.name.split(".")[0]))
    if graph.n_edges < LEAST_EDGES:
        message = f"{file} has {graph.n_edges} edges; a topology needs at least {LEAST_EDGES}"
        raise SchemaError(message)
    return graph
