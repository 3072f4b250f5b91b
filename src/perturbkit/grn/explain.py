"""The verb: a screen in, the network that explains it out."""

import numpy as np

from perturbkit.core.errors import ConfigError
from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn import GRN_METHODS


def explain(
    screen: Screen,
    *,
    method: str = "direct",
    rng: np.random.Generator,
    max_fdr: float | None = None,
    n_edges: int | None = None,
) -> Graph:
    """Infer a network from a screen.

    Args:
        screen: cells, or profiles, with single perturbations among its conditions.
        method: a name in GRN_METHODS.
        rng: source of randomness.
        max_fdr: keep edges up to this false discovery rate; for calibrated methods only.
        n_edges: keep so many of the strongest edges.

    Returns:
        Directed edges, strongest first; `columns` holds `probability` and `fdr` where the method
        gives them.

    Raises:
        UnknownNameError: no such method.
        ConfigError: a limit out of range, or an FDR asked of a method that has none.
        SchemaError: a screen without single perturbations.
    """
    card = GRN_METHODS[method]
    if max_fdr is not None and not card.calibrated:
        able = ", ".join(n for n, c in GRN_METHODS.items() if c.calibrated)
        message = (
            f"{method} gives no false discovery rates, and {max_fdr} was asked for; "
            f"leave the limit out, or use one of: {able}"
        )
        raise ConfigError(message)
    checked_limits(max_fdr, n_edges)
    readouts = len(screen.readouts)
    if card.max_genes is not None and readouts > card.max_genes:
        message = (
            f"{method} takes up to {card.max_genes:,} readouts and the screen has {readouts:,}; "
            "select readouts first, or use another method"
        )
        raise ConfigError(message)
    return strongest(card.fn(screen, rng), max_fdr=max_fdr, n_edges=n_edges)


def checked_limits(max_fdr: float | None, n_edges: int | None) -> None:
    """Refuse limits of a network that mean nothing.

    Raises:
        ConfigError: a rate outside (0, 1], or fewer than one edge.
    """
    if max_fdr is not None and not 0 < max_fdr <= 1:
        message = f"the false discovery rate is {max_fdr}; it must lie in (0, 1], such as 0.05"
        raise ConfigError(message)
    if n_edges is not None and n_edges < 1:
        message = f"{n_edges} edges were asked for; ask for at least 1, or leave the number out"
        raise ConfigError(message)


def strongest(graph: Graph, *, max_fdr: float | None = None, n_edges: int | None = None) -> Graph:
    """Return the edges up to a false discovery rate and number, strongest first."""
    order = np.argsort(-graph.weight, kind="stable")
    if max_fdr is not None:
        order = order[graph.columns["fdr"][order] <= max_fdr]
    return graph.select(order[:n_edges])
