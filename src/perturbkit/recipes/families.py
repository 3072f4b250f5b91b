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
    "agents": ("perturbkit.design.agents", "AGENTS"),
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
    """Return name, summary and source of each member, for one family or for all.

    Raises:
        UnknownNameError: no family of that name.
    """
    every = [*_HOMES, "policies"]
    if family is not None and family not in every:
        raise unknown_name("family", family, every)
    return {
        name: _policies() if name == "policies" else _cards(name)
        for name in ([family] if family else every)
    }


def _cards(family: str) -> list[dict[str, Any]]:
    return [
        {"name": card.name, "summary": card.summary, "source": card.source}
        for card in catalog(family).values()
    ]


def _policies() -> list[dict[str, Any]]:
    """Say of each policy of design what it chooses, by which surrogate, and how it begins."""
    from perturbkit.design.acquire import ACQUISITIONS
    from perturbkit.design.policy import POLICIES
    from perturbkit.design.surrogate import SURROGATES

    rows = []
    for name, policy in POLICIES.items():
        asked = ACQUISITIONS[policy.acquisition]
        parts = [asked.summary]
        if policy.surrogate != "prior" or policy.warm:
            parts.append(SURROGATES[policy.surrogate].summary)
        if policy.warm and policy.surrogate != "prior":
            parts.append("first batch by the static prior")
        rows.append({"name": name, "summary": "; ".join(parts), "source": asked.source})
    return rows
