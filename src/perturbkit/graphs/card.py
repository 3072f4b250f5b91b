"""What the family of networks promises: the card, the common settings, and the way from files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from perturbkit.core.catalog import Card
from perturbkit.core.config import Config
from perturbkit.core.errors import FileError
from perturbkit.core.fetch import Download
from perturbkit.core.files import sha256
from perturbkit.core.graph import Graph, Provenance
from perturbkit.graphs.algebra import sparsify

Paths = Mapping[str, Path]
"""The files of a network by their role: `{"links": ..., "info": ...}`"""


class GraphConfig(Config):
    """The settings every network has."""

    mode: str = "all"
    """which edges stay: `all`, `top_5` (the 5 strongest of each target), `threshold_0.4` (weight
    at least 0.4) or `percentile_90` (the strongest tenth)"""

    @field_validator("mode")
    @classmethod
    def _known_mode(cls, mode: str) -> str:
        from perturbkit.graphs.algebra import parse_mode

        parse_mode(mode)
        return mode


@dataclass(frozen=True, kw_only=True)
class GraphCard(Card):
    """A network of genes."""

    read: Callable[..., Graph]
    """`(paths, config) -> Graph` from files; `(screen, folds, config) -> Graph` from a screen;
    `(features, config) -> Graph` from vectors"""
    config: type[GraphConfig]
    """its settings"""
    takes: Literal["files", "screen", "features"] = "files"
    """what it is made from"""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """patterns of the names of its files by role, the preferred first"""
    downloads: Mapping[str, Download] = field(default_factory=dict)
    """where its files come from, by role"""
    directed: bool = False
    """whether source regulates target"""
    species: str = "homo_sapiens"
    """whose genes"""
    licence: str = ""
    """terms of the data"""


def find_files(card: GraphCard, place: str | Path) -> dict[str, Path]:
    """Return the files of a network by role, from its folder or from one of its files.

    Raises:
        FileError: nothing there matches; the message names the patterns looked for.
    """
    place = Path(place)
    if place.is_file():
        roles = [r for r, ps in card.files.items() if any(place.match(p) for p in ps)]
        own = roles[0] if roles else next(iter(card.files))
        beside = _matches(card, place.parent) if roles and own != "pairs" else {}
        return {**beside, own: place}
    found = _matches(card, place) if place.is_dir() else {}
    if not found:
        patterns = "; ".join(f"{r}: {' or '.join(p)}" for r, p in card.files.items())
        message = (
            f"no file of the network {card.name!r} at {place}; it needs {patterns}. "
            "Download it there, or name another folder"
        )
        raise FileError(message)
    return found


def _matches(card: GraphCard, folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for role, patterns in card.files.items():
        hits = [p for pattern in patterns for p in sorted(folder.glob(pattern))]
        if hits:
            found[role] = hits[0]
    return found


def finish(graph: Graph, card: GraphCard, config: GraphConfig, paths: Paths | None = None) -> Graph:
    """Apply `mode`, and note where the network comes from."""
    about = graph.provenance
    digest = "+".join(sha256(p) for p in (paths or {}).values())
    provenance = Provenance(
        about.name or card.name,
        about.version or ", ".join(p.name for p in (paths or {}).values()),
        about.species or card.species,
        about.licence or card.licence,
        about.sha256 or digest,
    )
    return replace(sparsify(graph, config.mode), provenance=provenance)
