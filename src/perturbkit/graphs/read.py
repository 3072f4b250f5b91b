"""From a name and settings to a network; from settings as users of STATE write them to several."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perturbkit.core.errors import ConfigError
from perturbkit.core.features import Features
from perturbkit.core.fetch import cache_folder, fetch
from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.graphs import GRAPHS
from perturbkit.graphs.card import GraphCard, find_files, finish

ALIASES = {"experimental": "perturbation_similarity", "scgpt_derived": "embedding"}
"""Names STATE's graph settings use, and ours."""


@dataclass(frozen=True)
class Sources:
    """What networks may be made from."""

    place: str | Path | None = None
    """folder of network files, or one file; None: the folder of downloads"""
    screen: Screen | None = None
    """for networks from data"""
    folds: Mapping[str, str] | None = None
    """fold of each condition of the screen, by key: only "train" is looked at"""
    features: Features | None = None
    """for networks from vectors"""


def read_graph(name: str, sources: Sources | str | Path | None = None, **settings: Any) -> Graph:
    """Read one network of the catalogue.

    Args:
        name: its name in GRAPHS, or one STATE uses ("experimental", "scgpt_derived").
        sources: a folder or file, or `Sources`; without one the files are downloaded.
        settings: those of the network's config, and `path` for a file or folder of its own.

    Raises:
        UnknownNameError: no such network.
        ConfigError: an unknown setting, or a source that is not given.
        FileError: files are missing or damaged.
    """
    given = sources if isinstance(sources, Sources) else Sources(place=sources)
    card = GRAPHS[ALIASES.get(name, name)]
    place = settings.pop("path", None) or given.place
    config = card.config.parse(settings, where=f"graph {name}")
    if card.takes == "screen":
        if given.screen is None or given.folds is None:
            message = (
                f"the network {name!r} is made from a screen's training fold; "
                "give the screen and the fold of each condition"
            )
            raise ConfigError(message)
        return finish(card.read(given.screen, given.folds, config), card, config)
    if card.takes == "features":
        if given.features is None:
            message = f"the network {name!r} is made from vectors; give features"
            raise ConfigError(message)
        return finish(card.read(given.features, config), card, config)
    paths = _fetched(card) if place is None else find_files(card, place)
    return finish(card.read(paths, config), card, config, paths)


def _fetched(card: GraphCard) -> dict[str, Path]:
    """Return the files in the folder of downloads, downloading what is not there."""
    if not card.downloads:
        message = (
            f"the network {card.name!r} has no address to download from; name its file "
            f"({' or '.join(p for ps in card.files.values() for p in ps)})"
        )
        raise ConfigError(message)
    folder = cache_folder() / "graphs"
    return {role: fetch(download, folder) for role, download in card.downloads.items()}


def read_graphs(
    settings: Mapping[str, Mapping[str, Any]], sources: Sources | str | Path | None = None
) -> dict[str, Graph]:
    """Read several networks, `{"string": {"confidence": 0.7}, "go": {}}`, in that order.

    Raises:
        ConfigError: settings that are not tables; others as `read_graph`.
    """
    for name, values in settings.items():
        if not isinstance(values, Mapping):
            message = f"graph {name}: {values!r} is not a table of settings; write {{}} for none"
            raise ConfigError(message)
    return {name: read_graph(name, sources, **values) for name, values in settings.items()}
