"""What networks look like side by side: degree distributions and shared edges, as one picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.errors import FileError
from perturbkit.core.files import atomic_path
from perturbkit.core.graph import Graph
from perturbkit.graphs.algebra import edge_overlap, symmetrise

SUFFIXES = (".svg", ".png", ".pdf")
"""The formats a picture can have."""


def degree_quantiles(graph: Graph) -> dict[str, float]:
    """Return size and the spread of degrees: median, 90th percentile, largest, share isolated."""
    degree = symmetrise(graph).degree
    connected = degree[degree > 0]
    quantiles = np.percentile(connected, [50, 90, 100]) if len(connected) else np.zeros(3)
    return {
        "genes": len(graph.nodes), "edges": graph.n_edges,
        "isolated": int((degree == 0).sum()), "median_degree": float(quantiles[0]),
        "degree_90": float(quantiles[1]), "max_degree": float(quantiles[2]),
    }  # fmt: skip


def overlap_table(graphs: Mapping[str, Graph]) -> list[dict[str, Any]]:
    """Return a row for each pair of networks: edges among common genes, shared, by chance."""
    names = list(graphs)
    return [
        {"first": a, "second": b, **edge_overlap(graphs[a], graphs[b])}
        for i, a in enumerate(names) for b in names[i + 1 :]
    ]  # fmt: skip


def draw(graphs: Mapping[str, Graph], path: str | Path) -> None:
    """Draw degree distributions, and for several networks how much their edges overlap.

    Args:
        graphs: networks by name.
        path: .svg, .png or .pdf.

    Raises:
        FileError: another suffix, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix not in SUFFIXES:
        message = f"{path} has the suffix {path.suffix!r}; a picture is {', '.join(SUFFIXES)}"
        raise FileError(message)
    figure = Figure(figsize=(10 if len(graphs) > 1 else 5.5, 4), layout="constrained")
    axes = figure.subplots(1, 2 if len(graphs) > 1 else 1, squeeze=False)[0]
    for name, graph in graphs.items():
        degree = symmetrise(graph).degree
        values = np.sort(degree[degree > 0])
        share = 1 - np.arange(len(values)) / max(len(values), 1)
        axes[0].plot(values, share, drawstyle="steps-pre", label=name)
    axes[0].set(xlabel="degree", ylabel="share of genes with at least that degree", xscale="log",
                yscale="log")  # fmt: skip
    axes[0].legend(frameon=False)
    if len(graphs) > 1:
        _overlaps(graphs, figure, axes[1])
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _overlaps(graphs: Mapping[str, Graph], figure: Any, axis: Any) -> None:
    names = list(graphs)
    jaccard = np.eye(len(names))
    for row in overlap_table(graphs):
        i, j = names.index(row["first"]), names.index(row["second"])
        jaccard[i, j] = jaccard[j, i] = row["jaccard"]
    off = jaccard[~np.eye(len(names), dtype=bool)]
    image = axis.imshow(np.where(np.eye(len(names)), np.nan, jaccard), vmin=0,
                        vmax=max(float(off.max()), 1e-3), cmap="Blues")  # fmt: skip
    for i in range(len(names)):
        for j in range(len(names)):
            if i != j:
                axis.text(j, i, f"{jaccard[i, j]:.3f}", ha="center", va="center")
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set_title("shared edges over all edges, common genes")
    figure.colorbar(image, ax=axis, shrink=0.8)
