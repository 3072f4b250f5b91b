"""BioGRID: curated physical and genetic interactions."""

from typing import Literal

import polars as pl

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, GraphConfig, Paths
from perturbkit.graphs.lines import Layout, read_table

_TAB3 = Layout("\t", comment="#", where="use a tab3 file from downloads.thebiogrid.org")
_A, _B = "Official Symbol Interactor A", "Official Symbol Interactor B"
_KIND, _AMOUNT = "Experimental System Type", "Throughput"
_TAXA = ("Organism ID Interactor A", "Organism ID Interactor B")


class BiogridConfig(GraphConfig):
    """Settings of BioGRID."""

    kind: Literal["physical", "genetic", "any"] = "physical"
    """which evidence counts"""
    taxon: int = 9606
    """NCBI taxon both partners belong to; 559292 is yeast"""
    low_throughput_only: bool = False
    """whether only small experiments count"""


def read(paths: Paths, config: BiogridConfig) -> Graph:
    """Read a tab3 file; the weight of a pair is its number of reports, relative to the most.

    Raises:
        SchemaError: wrong columns, short lines, or nothing left of the taxon and kind.
    """
    columns = {_A: pl.String, _B: pl.String, _KIND: pl.String, _AMOUNT: pl.String}
    table = read_table(paths["interactions"], {**columns, **dict.fromkeys(_TAXA, pl.Int64)}, _TAB3)
    rows = table.filter(pl.all_horizontal(pl.col(t) == config.taxon for t in _TAXA))
    if config.kind != "any":
        rows = rows.filter(pl.col(_KIND) == config.kind)
    if config.low_throughput_only:
        rows = rows.filter(pl.col(_AMOUNT).str.contains("Low Throughput"))
    if not rows.height:
        found = sorted({*table[_TAXA[0]].unique().to_list()})[:6]
        message = (
            f"no {config.kind} interaction of taxon {config.taxon} in "
            f"{paths['interactions'].name}, which has the taxa {found}; set taxon and kind"
        )
        raise SchemaError(message)
    pairs = rows.select(source=pl.min_horizontal(_A, _B), target=pl.max_horizontal(_A, _B))
    edges = pairs.group_by("source", "target", maintain_order=True).len("weight")
    edges = edges.with_columns(pl.col("weight") / pl.col("weight").max())
    return Graph.of(edges, directed=False, provenance=Provenance(name="biogrid"))


card = GraphCard(
    name="biogrid",
    summary="curated physical or genetic interactions, weighted by reports",
    source="Oughtred 2021, doi:10.1002/pro.3978; tab3 files (unpack the archive)",
    read=read,
    config=BiogridConfig,
    files={"interactions": ("BIOGRID*.tab3*",)},
    licence="MIT",
)
