"""DoRothEA: signed regulons of human transcription factors, graded A to E."""

import numpy as np
import polars as pl

from perturbkit.core.errors import ConfigError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.card import GraphCard, GraphConfig, Paths
from perturbkit.graphs.lines import Layout, read_table

_CSV = Layout(",", quote='"', where="the columns are tf, confidence, target, mor")
GRADES = {"A": 1.0, "B": 0.8, "C": 0.6, "D": 0.4, "E": 0.2}
"""Weight of each grade: A is curated and several times supported, E is predicted only."""


class DorotheaConfig(GraphConfig):
    """Settings of DoRothEA."""

    levels: tuple[str, ...] = ("A", "B", "C")
    """grades that count"""


def read(paths: Paths, config: DorotheaConfig) -> Graph:
    """Read tf, confidence, target, mor (mode of regulation: its sign).

    Raises:
        ConfigError: a level outside A to E.
        SchemaError: wrong columns or short lines.
    """
    unknown = [level for level in config.levels if level not in GRADES]
    if unknown or not config.levels:
        message = f"levels are {list(config.levels)}; name some of {', '.join(GRADES)}"
        raise ConfigError(message)
    columns = {"tf": pl.String, "confidence": pl.String, "target": pl.String, "mor": pl.Float64}
    table = read_table(paths["regulons"], columns, _CSV)
    rows = table.filter(pl.col("confidence").is_in(list(config.levels)))
    edges = rows.select(
        source="tf", target="target", weight=pl.col("confidence").replace_strict(GRADES),
        sign=pl.Series(np.sign(rows["mor"].to_numpy()).astype(np.int8)),
    )  # fmt: skip
    return Graph.of(edges, directed=True, provenance=Provenance(name="dorothea"))


card = GraphCard(
    name="dorothea",
    summary="signed regulons of transcription factors, graded A (curated) to E (predicted)",
    source="Garcia-Alonso 2019, doi:10.1101/gr.240663.118",
    read=read,
    config=DorotheaConfig,
    files={"regulons": ("dorothea*.csv*",)},
    directed=True,
    licence="GPL-3.0 package; levels for academic use",
)
