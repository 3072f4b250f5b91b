"""Every family of the package by name, for `perturbkit list` and the docs tables."""

from importlib import import_module
from typing import Any

from perturbkit.core.catalog import Catalog
from perturbkit.core.errors import unknown_name

_HOMES = {
    "recipes": ("perturbkit.recipes.studies", "RECIPES"),
    "models": ("perturbkit.models", "MODELS"),
    "metrics": ("perturbkit.metrics", "METRICS"),
    "screens": ("perturbkit.data.screens", "SCREENS"),
    "splits": ("perturbkit.data.splits", "SPLITS"),
    "cell_metrics": ("perturbkit.metrics.cells", "CELL_METRICS"),
    "graphs": ("perturbkit.graphs", "GRAPHS"),
    "embeddings": ("perturbkit.genes", "EMBEDDINGS"),
    "grn_methods": ("perturbkit.grn", "GRN_METHODS"),
    "acquisitions": ("perturbkit.design.acquire", "ACQUISITIONS"),
    "surrogates": ("perturbkit.design.surrogate", "SURROGATES"),
}


def catalog(family: str) -> Catalog[Any]:
    """Return the catalogue of a family.

    Raises:
        UnknownNameError: no family of that name.
    """
    if family not in _HOMES:
        raise unknown_name("family", family, _HOMES)
    module, name = _HOMES[family]
    return getattr(import_module(module), name)


def members(family: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return name, summary and source of each member, for one family or for all."""
    return {
        name: [
            {"name": card.name, "summary": card.summary, "source": card.source}
            for card in catalog(name).values()
        ]
        for name in ([family] if family else _HOMES)
    }
