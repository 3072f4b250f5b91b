"""Networks from settings in the form that users of STATE write: a type and its arguments."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perturbkit.core.errors import ConfigError
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.graphs.read import Sources, read_graph


def configured_graphs(
    settings: Mapping[str, Mapping[str, Any]],
    folder: str | Path = "",
    features: Features | None = None,
) -> dict[str, Graph]:
    """Read the networks of a `graph_config`, `{"string": {"type": "string", "args": {...}}}`.

    A table without `type` is the settings of the network of that name. `scgpt_derived` is made
    from `features`. Files are looked for in a sub-folder of the network's name, then in `folder`.

    Args:
        settings: one table for each network.
        folder: where the files are; by default `graphs` of PERTURBKIT_DATA, else the downloads.
        features: vectors of genes, for networks made from them.

    Raises:
        UnknownNameError: no such network.
        ConfigError: a table that cannot be read, or an unknown setting.
        FileError: files are missing or damaged.
    """
    data = os.environ.get("PERTURBKIT_DATA")
    place = Path(folder) if folder else (Path(data) / "graphs" if data else None)
    if place is not None and not folder and not place.is_dir():
        place = None
    graphs = {}
    for name, entry in settings.items():
        kind, arguments = _entry(name, entry)
        own = place / kind if place is not None and (place / kind).is_dir() else place
        graphs[name] = read_graph(kind, Sources(own, features=features), **arguments)
    return graphs


def _entry(name: str, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if "type" not in entry and "args" not in entry:
        return name, dict(entry)
    others = set(entry) - {"type", "args"}
    arguments = entry.get("args", {})
    if others or not isinstance(arguments, Mapping):
        message = (
            f"graph_config.{name} holds {', '.join(map(str, entry))}; it needs a type and a table "
            "of args, or the network's own settings alone"
        )
        raise ConfigError(message)
    return str(entry.get("type", name)), dict(arguments)
