"""hu.MAP: pairs of proteins in the same complex."""

import polars as pl
from pydantic import Field

from perturbkit.core.errors import ConfigError
from perturbkit.core.fetch import Download
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, GraphConfig, Paths
from perturbkit.graphs.lines import Layout, header_of, read_table

_PAIRS = Layout(",", quote='"', where="a file of pairs has the columns entity1 and entity2")
_SCORED = Layout("\t", names=("source", "target", "weight"),
                 where="use the file of pairs with gene names and probabilities")  # fmt: skip


class HumapConfig(GraphConfig):
    """Settings of hu.MAP."""

    probability: float = Field(default=0.0, ge=0, le=1)
    """pairs of at least this probability stay; needs the file with probabilities"""


def read(paths: Paths, config: HumapConfig) -> Graph:
    """Read pairs with a header (entity1, entity2), or gene, gene, probability without one.

    Raises:
        SchemaError: wrong columns or short lines.
        ConfigError: a probability is asked of a file that has none.
    """
    path = paths["pairs"]
    about = Provenance(name="humap")
    if "entity1" in header_of(path, _PAIRS):
        if config.probability:
            message = f"{path.name} holds pairs without probabilities; leave `probability` out"
            raise ConfigError(message)
        table = read_table(path, {"entity1": pl.String, "entity2": pl.String}, _PAIRS)
        edges = table.rename({"entity1": "source", "entity2": "target"})
        return Graph.of(edges, directed=False, provenance=about)
    columns = {"source": pl.String, "target": pl.String, "weight": pl.Float64}
    edges = read_table(path, columns, _SCORED).filter(pl.col("weight") >= config.probability)
    return Graph.of(edges, directed=False, provenance=about)


card = GraphCard(
    name="humap",
    summary="pairs of proteins in the same complex, from mass spectrometry",
    source="Drew 2021, doi:10.15252/msb.202010016",
    read=read,
    config=HumapConfig,
    files={"pairs": ("humap*.txt*", "*humap*pairs*")},
    downloads={
        "pairs": Download(
            name="humap2_ppis_genename_20200821.pairsWprob",
            urls=("https://humap2.proteincomplexes.org/static/downloads/humap2/"
                  "humap2_ppis_genename_20200821.pairsWprob",),
        )
    },
    licence="CC BY 4.0",
)  # fmt: skip
