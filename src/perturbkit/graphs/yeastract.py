"""YEASTRACT: regulation by yeast's transcription factors."""

import polars as pl

from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, GraphConfig, Paths
from perturbkit.graphs.lines import Layout, header_of, read_table

_CSV = Layout(",", quote='"', where="the columns are tf and target")
_TWO_COLUMNS = Layout(";", names=("tf", "target"),
                      where="use RegulationTwoColumnTable from yeastract.com")  # fmt: skip


class YeastractConfig(GraphConfig):
    """Settings of YEASTRACT."""

    upper_case: bool = True
    """write names in capitals: YEASTRACT writes factors as Abf1p-like mixed case"""


def read(paths: Paths, config: YeastractConfig) -> Graph:
    """Read tf, target with a header, or `factor;target` lines.

    Raises:
        SchemaError: wrong columns or short lines.
    """
    path = paths["edges"]
    layout = _CSV if "tf" in header_of(path, _CSV) else _TWO_COLUMNS
    edges = read_table(path, {"tf": pl.String, "target": pl.String}, layout)
    names = pl.col("tf", "target").str.strip_chars()
    edges = edges.select(names.str.to_uppercase() if config.upper_case else names)
    edges = edges.rename({"tf": "source"})
    return Graph.of(edges, directed=True, provenance=Provenance(name="yeastract"))


card = GraphCard(
    name="yeastract",
    summary="regulation by yeast's transcription factors",
    source="Teixeira 2018, doi:10.1093/nar/gkx842",
    read=read,
    config=YeastractConfig,
    files={"edges": ("yeastract_edges*.csv*", "RegulationTwoColumnTable*")},
    directed=True,
    species="saccharomyces_cerevisiae",
    licence="free for academic use",
)
