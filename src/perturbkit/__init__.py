"""perturbkit: predict, explain and design perturbation experiments on cells.

The verbs are here; everything heavy loads at first use, so that importing this costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from perturbkit.core.condition import Condition as Condition
    from perturbkit.core.graph import Graph as Graph
    from perturbkit.core.responses import Responses as Responses
    from perturbkit.core.run import Run as Run
    from perturbkit.core.screen import Screen as Screen
    from perturbkit.data.geo import GenomicsDataLoader as GenomicsDataLoader
    from perturbkit.design.hyperperturb import HyperPerturbTrainer as HyperPerturbTrainer
    from perturbkit.recipes.verbs import fit as fit
    from perturbkit.recipes.verbs import load as load
    from perturbkit.recipes.verbs import predict as predict
    from perturbkit.recipes.verbs import score as score
    from perturbkit.report.html import write_report as write_report

_HOMES = {
    "Condition": "perturbkit.core.condition",
    "GenomicsDataLoader": "perturbkit.data.geo",
    "Graph": "perturbkit.core.graph",
    "HyperPerturbTrainer": "perturbkit.design.hyperperturb",
    "Responses": "perturbkit.core.responses",
    "Run": "perturbkit.core.run",
    "Screen": "perturbkit.core.screen",
    "fit": "perturbkit.recipes.verbs",
    "load": "perturbkit.recipes.verbs",
    "predict": "perturbkit.recipes.verbs",
    "score": "perturbkit.recipes.verbs",
    "write_report": "perturbkit.report.html",
}


def __getattr__(name: str) -> object:
    """Load a public name from its home module at first use (PEP 562)."""
    if name not in _HOMES:
        message = f"module 'perturbkit' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
