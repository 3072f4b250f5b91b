"""TRRUST: transcriptional regulation found in sentences of papers."""

import polars as pl
from pydantic import Field

from perturbkit.core.errors import SchemaError
from perturbkit.core.fetch import Download
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, GraphConfig, Paths
from perturbkit.graphs.lines import Layout, header_of, read_table

_CSV = Layout(",", quote='"', where="the columns are tf, target, mor, pubmed_id")
_TSV = Layout("\t", names=("tf", "target", "mode", "pubmed_id"),
              where="use trrust_rawdata.human.tsv from grnpedia.org/trrust")  # fmt: skip
_SIGNS = {"Activation": 1, "Repression": -1, "Unknown": 0}


class TrrustConfig(GraphConfig):
    """Settings of TRRUST."""

    signed_only: bool = False
    """leave out edges of unknown sign"""
    min_references: int = Field(default=1, ge=1)
    """edges with fewer publications are left out"""


def read(paths: Paths, config: TrrustConfig) -> Graph:
    """Read the raw table (tf, target, Activation|Repression|Unknown, publications) or its csv.

    Raises:
        SchemaError: wrong columns, short lines, or another word for the mode.
    """
    path = paths["regulons"]
    is_csv = "mor" in header_of(path, _CSV)
    names = {"tf": pl.String, "target": pl.String}
    if is_csv:
        table = read_table(path, {**names, "mor": pl.Float64, "pubmed_id": pl.String}, _CSV)
        table = table.with_columns(sign=pl.col("mor").sign().cast(pl.Int8))
    else:
        table = read_table(path, {**names, "mode": pl.String, "pubmed_id": pl.String}, _TSV)
        odd = table.filter(~pl.col("mode").is_in(list(_SIGNS)))["mode"]
        if len(odd):
            message = f"{path}: mode {odd[0]!r} is not one of {', '.join(_SIGNS)}; {_TSV.where}"
            raise SchemaError(message)
        table = table.with_columns(sign=pl.col("mode").replace_strict(_SIGNS))
    n = pl.col("pubmed_id").str.count_matches("[;,]") + 1
    rows = table.with_columns(n=n).group_by("tf", "target", maintain_order=True).agg(
        sign=pl.when((pl.col("sign").max() > 0) & (pl.col("sign").min() < 0))
        .then(0).otherwise(pl.col("sign").max() + pl.col("sign").min()).sign(),
        n=pl.col("n").sum(),
    )  # fmt: skip
    rows = rows.filter(pl.col("n") >= config.min_references)
    if config.signed_only:
        rows = rows.filter(pl.col("sign") != 0)
    edges = rows.select(source="tf", target="target", sign="sign")
    return Graph.of(edges, directed=True, provenance=Provenance(name="trrust"))


card = GraphCard(
    name="trrust",
    summary="signed transcriptional regulation from sentences of papers",
    source="Han 2018, doi:10.1093/nar/gkx1013",
    read=read,
    config=TrrustConfig,
    files={"regulons": ("trrust*.tsv*", "trrust*.csv*")},
    downloads={
        "regulons": Download(
            name="trrust_rawdata.human.tsv",
            urls=("https://www.grnpedia.org/trrust/data/trrust_rawdata.human.tsv",),
        )
    },
    directed=True,
    licence="CC BY-SA 4.0",
)
