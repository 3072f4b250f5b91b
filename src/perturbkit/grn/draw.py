"""A drawing of a network around chosen genes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perturbkit.core.errors import FileError, unknown_name
from perturbkit.core.files import atomic_path
from perturbkit.core.graph import Graph

if TYPE_CHECKING:
    from networkx import DiGraph

MAX_DRAWN = 50
"""The most edges drawn; more cannot be read."""
COLOURS = {1: "#2b6cb0", -1: "#c05621", 0: "#718096"}
"""Activation, repression, not known; told apart by the colour-blind, and by the arrow's end."""


PICTURES = (".svg", ".png", ".pdf")
"""What pictures end in."""


def checked_picture(path: str | Path) -> Path:
    """Return the path, or raise FileError if its suffix is not that of a picture."""
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        found = path.suffix or "no suffix"
        message = f"{path} ends in {found!r}; end a picture's name in {', '.join(PICTURES)}"
        raise FileError(message)
    return path


def around(graph: Graph, genes: Sequence[str] = (), *, n_edges: int = MAX_DRAWN) -> Graph:
    """Return the strongest edges that touch some genes, or of all.

    Raises:
        UnknownNameError: a gene is not in the network.
    """
    for gene in genes:
        if gene not in graph.nodes:
            raise unknown_name("gene", gene, graph.nodes)
    order = np.argsort(-graph.weight, kind="stable")
    if genes:
        chosen = graph.nodes.encode(genes)
        touch = np.isin(graph.source, chosen) | np.isin(graph.target, chosen)
        order = order[touch[order]]
    return graph.select(order[:n_edges])


def draw_graph(
    graph: Graph,
    path: str | Path,
    rng: np.random.Generator,
    *,
    genes: Sequence[str] = (),
    n_edges: int = MAX_DRAWN,
) -> Graph:
    """Draw the strongest edges around some genes to a picture, .svg, .png or .pdf.

    Args:
        graph: the network.
        path: where the picture goes.
        rng: draws the start of the layout.
        genes: whose neighbourhood is drawn; by default the strongest edges of all.
        n_edges: the most edges drawn.

    Returns:
        The edges that were drawn.

    Raises:
        UnknownNameError: a gene is not in the network.
        FileError: the path does not end in one of PICTURES.
    """
    import networkx as nx
    from matplotlib.figure import Figure

    path = checked_picture(path)
    drawn = around(graph, genes, n_edges=n_edges)
    names = drawn.nodes.names
    arrows = nx.DiGraph()
    arrows.add_nodes_from(genes)
    edges = [(names[a], names[b]) for a, b in zip(drawn.source, drawn.target, strict=True)]
    arrows.add_edges_from(edges)
    place = _layout(arrows, rng)
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    width = 0.6 + 2.4 * drawn.weight / max(float(drawn.weight.max(initial=0.0)), 1e-12)
    for sign, style in ((1, "-|>"), (-1, "|-|,widthA=0,widthB=0.35"), (0, "-")):
        some = np.flatnonzero(drawn.sign == sign)
        nx.draw_networkx_edges(
            arrows, place, [edges[e] for e in some], width=width[some].tolist(), ax=axes,
            edge_color=COLOURS[sign], arrowstyle=style, connectionstyle="arc3,rad=0.08",
            arrows=True, node_size=500, alpha=0.8,
        )  # fmt: skip
    chosen = ["#f6e05e" if n in set(genes) else "#edf2f7" for n in arrows]
    nx.draw_networkx_nodes(arrows, place, ax=axes, node_size=500, node_color=chosen,
                           edgecolors="#4a5568", linewidths=0.8)  # fmt: skip
    nx.draw_networkx_labels(arrows, place, ax=axes, font_size=7)
    axes.set_title(
        f"{graph.provenance.name}: {len(edges)} of {graph.n_edges:,} edges; "
        "blue activates, orange represses", fontsize=9,
    )  # fmt: skip
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return drawn


def _layout(arrows: "DiGraph", rng: np.random.Generator) -> "dict[str, np.ndarray]":
    """Return the place of each gene: distances are those along edges.

    So regulators of the same genes do not lie on each other.
    """
    import networkx as nx

    place = nx.spring_layout(
        arrows, seed=int(rng.integers(2**31)), k=1.6 / max(len(arrows), 1) ** 0.5
    )
    if len(arrows) <= 2:
        return place
    apart = dict(nx.all_pairs_shortest_path_length(arrows.to_undirected()))
    far = 1 + max((d for row in apart.values() for d in row.values()), default=0)
    degree = dict(arrows.degree())
    wanted = {
        a: {b: apart[a].get(b, far) + (0.8 if min(degree[a], degree[b]) > 1 else 0.0)
            for b in arrows if b != a}
        for a in arrows
    }  # fmt: skip
    return nx.kamada_kawai_layout(arrows, dist=wanted, pos=place)
