"""STRING: functional association of proteins, by evidence channel and confidence."""

from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.errors import ConfigError, FileError, SchemaError
from perturbkit.core.fetch import Download
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.graphs.card import GraphCard, GraphConfig, Paths
from perturbkit.graphs.lines import Layout, header_of, read_table, scan_table

CHANNELS = {
    "neighborhood": ("neighborhood", "neighborhood_transferred"),
    "fusion": ("fusion",),
    "cooccurence": ("cooccurence",),
    "homology": ("homology",),
    "coexpression": ("coexpression", "coexpression_transferred"),
    "experiments": ("experiments", "experimental", "experiments_transferred"),
    "database": ("database", "database_transferred"),
    "textmining": ("textmining", "textmining_transferred"),
}
"""The columns of each channel in the files `links.full` and `links.detailed`."""
PRIOR = 0.041
"""Probability that two random proteins are linked, which STRING puts into every score."""
_LINKS = Layout(" ", where="use 9606.protein.links.full from string-db.org")
_INFO = Layout("\t", comment="#", where="use 9606.protein.info from string-db.org")
_PAIRS = Layout(",", quote='"', where="a file of pairs has the columns gene1 and gene2")


class StringConfig(GraphConfig):
    """Settings of STRING."""

    confidence: float | None = Field(default=None, ge=0, le=1)
    """edges of at least this score stay; by default 0.4, which STRING calls medium"""
    channels: tuple[str, ...] = ()
    """which evidence counts, combined anew; empty: the combined score of the file"""


def read(paths: Paths, config: StringConfig) -> Graph:
    """Read `protein.links` (any variant) with `protein.info`, or a file of gene pairs.

    Raises:
        FileError: one of the two files is missing.
        SchemaError: wrong columns, short lines, or proteins that `protein.info` does not list.
        ConfigError: an unknown channel, or settings a file of pairs cannot honour.
    """
    if "links" in paths:
        return _read_links(paths, config)
    if "pairs" in paths:
        return _read_pairs(paths["pairs"], config)
    message = f"found {', '.join(paths)} of STRING; it needs protein.links as well"
    raise FileError(message)


def _read_pairs(path: Path, config: StringConfig) -> Graph:
    if config.confidence is not None or config.channels:
        message = (
            f"{path.name} holds pairs without scores, so confidence and channels cannot be "
            "honoured; leave them out, or read protein.links"
        )
        raise ConfigError(message)
    table = read_table(path, {"gene1": pl.String, "gene2": pl.String}, _PAIRS)
    edges = table.rename({"gene1": "source", "gene2": "target"})
    return Graph.of(edges, directed=False, provenance=Provenance(name="string"))


def _read_links(paths: Paths, config: StringConfig) -> Graph:
    links = paths["links"]
    if "info" not in paths:
        message = (
            f"{links.name} names proteins by STRING id, and protein.info is not beside it; "
            "download protein.info of the same version there"
        )
        raise FileError(message)
    groups = _columns(links, config.channels)
    cut = 0.4 if config.confidence is None else config.confidence
    names = {"protein1": pl.String, "protein2": pl.String}
    scores = {c: pl.Int32 for columns in groups for c in columns}
    parts = [
        block.select("protein1", "protein2", score=score).filter(score >= cut - 1e-6)
        for block in scan_table(links, {**names, **scores}, _LINKS)
        for score in [pl.Series(combined_score(block, groups))]
    ]
    if not parts:
        message = f"{links} has a header and no lines; download it again"
        raise SchemaError(message)
    info = read_table(
        paths["info"], {"string_protein_id": pl.String, "preferred_name": pl.String}, _INFO
    )
    return _named(pl.concat(parts), info, links)


def _named(table: pl.DataFrame, info: pl.DataFrame, path: Path) -> Graph:
    """Map proteins to gene names without a Python step for each edge."""
    symbol = info.unique("string_protein_id", keep="first", maintain_order=True)
    genes = symbol["preferred_name"].unique().sort()
    place = symbol.join(
        pl.DataFrame({"preferred_name": genes, "code": np.arange(len(genes))}), on="preferred_name"
    ).select("string_protein_id", "code")
    for side in ("1", "2"):
        right = place.rename({"string_protein_id": f"protein{side}", "code": f"code{side}"})
        table = table.join(right, on=f"protein{side}", how="left", maintain_order="left")
        unknown = table.filter(pl.col(f"code{side}").is_null())[f"protein{side}"]
        if len(unknown):
            message = (
                f"{path}: {unknown.n_unique():,} proteins such as {unknown[0]} are not in "
                "protein.info; use both files of one STRING version"
            )
            raise SchemaError(message)
    merged = (
        table.select(a=pl.min_horizontal("code1", "code2"), b=pl.max_horizontal("code1", "code2"),
                     score="score")
        .filter(pl.col("a") != pl.col("b"))
        .group_by("a", "b").agg(pl.col("score").max()).sort("a", "b")
    )  # fmt: skip
    a, b, weight = (merged[c].to_numpy() for c in ("a", "b", "score"))
    about = Provenance(name="string", version=_version(path))
    no_sign = np.zeros(len(a), np.int8)
    return Graph(Vocabulary(genes, "gene"), a, b, weight, no_sign, directed=False, provenance=about)


def _version(path: Path) -> str:
    parts = [p for p in path.name.split(".") if p.startswith("v") and p[1:2].isdigit()]
    start = path.name.find(parts[0]) if parts else -1
    return path.name[start:].split(".txt")[0] if parts else path.name


def _columns(links: Path, channels: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the columns of each channel asked for, as this file calls them."""
    header = header_of(links, _LINKS)
    if not channels:
        return [("combined_score",)]
    groups = []
    for channel in channels:
        if channel not in CHANNELS:
            message = f"no channel {channel!r} in STRING; channels are {', '.join(CHANNELS)}"
            raise ConfigError(message)
        found = tuple(c for c in CHANNELS[channel] if c in header)
        if not found:
            message = (
                f"{links.name} has no column for {channel!r}, it has {', '.join(header[2:])}; "
                "download protein.links.full"
            )
            raise ConfigError(message)
        groups.append(found)
    return groups


def combined_score(block: pl.DataFrame, groups: list[tuple[str, ...]]) -> np.ndarray:
    """Return the score in [0, 1] that several channels give together.

    The prior p is taken out of every channel, s' = (s - p) / (1 - p); independent evidence joins
    as 1 - prod(1 - s'); the prior is put back once.

    Args:
        block: scores times 1,000, a column each.
        groups: the columns to join; a single one is returned as it is.

    Source:
        von Mering 2005, doi:10.1093/nar/gki005, and the score recipe on string-db.org/help.
    """
    columns = [c for group in groups for c in group]
    if columns == ["combined_score"]:
        return block["combined_score"].to_numpy().astype(np.float32) / np.float32(1000)
    left = np.ones(block.height, np.float32)
    for column in columns:
        score = block[column].to_numpy().astype(np.float32) / np.float32(1000)
        left *= 1 - np.maximum(score - PRIOR, 0) / (1 - PRIOR)
    joined = 1 - left
    return np.where(joined > 0, joined + PRIOR * (1 - joined), 0).astype(np.float32)


_URL = "https://stringdb-downloads.org/download/protein.{0}.v12.0/9606.protein.{0}.v12.0.txt.gz"
card = GraphCard(
    name="string",
    summary="functional association of proteins, with confidence and evidence channels",
    source="Szklarczyk 2023, doi:10.1093/nar/gkac1000; files protein.links(.full) + protein.info",
    read=read,
    config=StringConfig,
    files={
        "links": ("*protein.links*.txt*",),
        "info": ("*protein.info*.txt*",),
        "pairs": ("*pin_string*.csv*", "string_pairs*.csv*"),
    },
    downloads={
        "links": Download(
            name="9606.protein.links.full.v12.0.txt.gz", urls=(_URL.format("links.full"),)
        ),
        "info": Download(name="9606.protein.info.v12.0.txt.gz", urls=(_URL.format("info"),)),
    },
    licence="CC BY 4.0",
)
