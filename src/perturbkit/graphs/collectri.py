"""CollecTRI: signed transcriptional regulation, from twelve resources."""

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.fetch import Download
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, GraphConfig, Paths
from perturbkit.graphs.lines import Layout, read_table

_CSV = Layout(",", quote='"', where="the columns are source, target, weight (the sign)")


class CollectriConfig(GraphConfig):
    """Settings of CollecTRI."""

    min_references: int = Field(default=0, ge=0)
    """edges with fewer publications are left out; needs the column `resources` or `references`"""


def read(paths: Paths, config: CollectriConfig) -> Graph:
    """Read source, target, weight, where the weight is the sign.

    Raises:
        SchemaError: wrong columns, short lines, or no references where some are asked for.
    """
    columns = {"source": pl.String, "target": pl.String, "weight": pl.Float64}
    more = {"references": pl.String} if config.min_references else {}
    table = read_table(paths["regulons"], {**columns, **more}, _CSV)
    if config.min_references:
        n = table["references"].str.count_matches("[;|]") + 1
        table = table.filter(n >= config.min_references)
    sign = np.sign(table["weight"].to_numpy()).astype(np.int8)
    edges = table.select("source", "target", weight=pl.lit(1.0), sign=pl.Series(sign))
    return Graph.of(edges, directed=True, provenance=Provenance(name="collectri"))


card = GraphCard(
    name="collectri",
    summary="signed transcriptional regulation, joined from twelve resources",
    source="Müller-Dott 2023, doi:10.1093/nar/gkad841",
    read=read,
    config=CollectriConfig,
    files={"regulons": ("collectri*.csv*",)},
    downloads={
        "regulons": Download(
            name="collectri.csv",
            urls=("https://zenodo.org/records/8192729/files/CollecTRI_regulons.csv",),
        )
    },
    directed=True,
    licence="CC BY 4.0",
)
