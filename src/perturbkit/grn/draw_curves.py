"""Curves of networks' scores over their numbers of edges, with intervals."""

from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.files import atomic_path
from perturbkit.grn.draw import checked_picture

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#718096", "#975a16", "#285e61")
"""Told apart in this order also by most of the colour-blind; markers repeat the difference."""
MARKERS = "osD^vP*X"
AXES = {
    "mean_wasserstein": "mean Wasserstein distance of targets",
    "moved": "share of targets moved (p < 0.05)",
    "false_omission_rate": "false omission rate",
    "precision": "precision",
    "recall": "recall",
}
"""Scores that are drawn, and what their axis says."""


def draw_curves(table: pl.DataFrame, path: str | Path) -> int:
    """Draw one panel for each test and score, to .svg, .png or .pdf.

    Args:
        table: the long table of `score_networks`.
        path: where the picture goes.

    Returns:
        How many panels were drawn.
    """
    from matplotlib.figure import Figure

    path = checked_picture(path)
    table = table.with_columns(pl.col("score").str.strip_suffix(" (curve)"))
    table = table.filter(
        pl.col("score").is_in(list(AXES))
        & pl.col("value").is_finite()
        & pl.col("low").is_not_null()
    )
    panels = table.select("held_out", "against", "score").unique(maintain_order=True).rows()
    panels = [p for p in panels if p[2] != "recall"]
    n_columns = min(3, max(len(panels), 1))
    n_rows = -(-max(len(panels), 1) // n_columns)
    figure = Figure(figsize=(4.4 * n_columns, 3.4 * n_rows + 0.5), layout="constrained")
    grid = np.atleast_1d(figure.subplots(n_rows, n_columns)).ravel()
    networks = table["network"].unique(maintain_order=True).to_list()
    for axes, (held_out, against, score) in zip(grid, panels, strict=False):
        part = table.filter(pl.col("held_out") == held_out, pl.col("against") == against,
                            pl.col("score") == score)  # fmt: skip
        for i, name in enumerate(networks):
            line = part.filter(pl.col("network") == name).sort("n_edges")
            colour = COLOURS[i % len(COLOURS)]
            x = line["n_edges"].to_numpy()
            axes.plot(x, line["value"], color=colour, marker=MARKERS[i % len(MARKERS)],
                      markersize=4, linewidth=1.4, label=name)  # fmt: skip
            axes.fill_between(x, line["low"], line["high"], color=colour, alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        axes.set_xlabel("edges")
        axes.set_ylabel(AXES[score])
        said = f" (held-out {held_out})" if held_out else ""
        axes.set_title(f"{against}{said}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    if networks:
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", frameon=False,
                      ncols=min(len(labels), 4), fontsize=8)  # fmt: skip
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return len(panels)
