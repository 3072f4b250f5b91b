"""Pictures of a summary, each one an SVG element to stand in a page; no state, no files."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

MODEL, OTHER, CEILING, FAINT = "#1f5fa8", "#7d8894", "#b9770e", "#d5dae0"
"""Colours that differ in lightness too, for print and for the colour-blind."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "perturbkit", "text.parse_math": False,
    "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": "#59636e", "axes.labelcolor": "#24292f",
    "xtick.color": "#59636e", "ytick.color": "#24292f", "axes.linewidth": 0.8,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip


def draw(width: float, height: float, plot: Callable[[Figure], None]) -> str:
    """Draw on a figure of a size in inches and return it as an SVG element.

    Names are drawn as they are: nothing in them is read as mathematics or as markup.
    """
    buffer = io.StringIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        # a name in a script that the measuring font lacks; the browser's font has it
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure = Figure(figsize=(width, height), layout="constrained")
        plot(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    """Cut the XML prologue, metadata and ids that nothing refers to; let the page set the size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda m: m.group(0) if m.group(1) in used else "", svg)
    svg = re.sub(r'<svg (.*?)width="[^"]*"', r'<svg \1width="100%"', svg, count=1, flags=re.DOTALL)
    return re.sub(r'(<svg .*?)height="[^"]*"', r'\1role="img"', svg, count=1, flags=re.DOTALL)


def shorten(name: str, width: int = 26) -> str:
    """Return a name cut to what a picture has room for."""
    name = " ".join(name.split())
    return name if len(name) <= width else name[: width - 1] + "…"


def score_bars(metric: dict[str, Any]) -> str:
    """Draw a metric's values with their intervals, one line for each model."""
    rows = [r for r in metric["rows"] if r["value"] is not None]
    ceiling = next((r for r in rows if r["role"] == "ceiling"), None)
    colours = {"model": MODEL, "ceiling": CEILING}

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for y, row in enumerate(reversed(rows)):
            colour = colours.get(row["role"], OTHER)
            low, high = (row[k] if row[k] is not None else row["value"] for k in ("low", "high"))
            axes.barh(y, row["value"], height=0.62, color=colour, alpha=0.28)
            axes.plot([low, high], [y, y], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot(row["value"], y, "o", color=colour, ms=5)
        if ceiling is not None:
            axes.axvline(ceiling["value"], color=CEILING, lw=0.9, ls=(0, (4, 3)), zorder=0)
        axes.set_yticks(range(len(rows)), [shorten(r["model"]) for r in reversed(rows)])
        for label, row in zip(axes.get_yticklabels(), reversed(rows), strict=True):
            label.set_fontweight("bold" if row["role"] == "model" else "normal")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        unit = f", {metric['unit']}" if metric["unit"] else ""
        axes.set_xlabel(shorten(f"{metric['name']}{unit} ({metric['better']} is better)", 60))
        axes.margins(y=0.04)

    return draw(4.6, 0.75 + 0.25 * max(1, len(rows)), plot)


def learning_curve(learning: dict[str, Any]) -> str:
    """Draw the training and validation loss of every member against the step."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        values = []
        for member in learning["members"]:
            for name, colour, width in (("train", OTHER, 0.9), ("val", MODEL, 1.4)):
                points = [(s, v) for s, v in zip(member["steps"], member[name], strict=True)
                          if v is not None]  # fmt: skip
                if points:
                    values += [v for _, v in points]
                    mark = "o" if len(points) == 1 else None
                    axes.plot(*zip(*points, strict=True), color=colour, lw=width, marker=mark, ms=3)
            if member["best_val"] is not None:
                axes.plot(member["best_step"], member["best_val"], "o", color=MODEL, ms=4.5)
        if values and 0 < 5 * min(values) < max(values):
            axes.set_yscale("log")
            # the usual labels are mathematics, which is off
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        handles = [Line2D([], [], color=OTHER), Line2D([], [], color=MODEL),
                   Line2D([], [], color=MODEL, marker="o", ls="")]  # fmt: skip
        axes.legend(handles, ["training", "validation", "kept"], frameon=False, ncols=3,
                    loc="upper right")  # fmt: skip

    return draw(9.6, 2.9, plot)


def against(compared: dict[str, Any], model: str) -> str:
    """Draw each held-out condition's score by the model against that by the best baseline."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        x, y = np.array(compared["other"]), np.array(compared["model"])
        _diagonal(axes, x, y)
        axes.scatter(x, y, s=14, color=MODEL, alpha=0.55, lw=0)
        axes.set_xlabel(shorten(f"{compared['baseline']} ({compared['metric']})", 46))
        axes.set_ylabel(shorten(f"{model} ({compared['metric']})", 46))

    return draw(4.2, 4.0, plot)


def scatter(panel: dict[str, Any]) -> str:
    """Draw predicted against measured change of one condition."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        x, y = np.array(panel["measured"]), np.array(panel["predicted"])
        _diagonal(axes, x, y)
        axes.axhline(0, color=FAINT, lw=0.7, zorder=0)
        axes.axvline(0, color=FAINT, lw=0.7, zorder=0)
        axes.scatter(x, y, s=9, color=MODEL, alpha=0.5, lw=0)
        _name_largest(axes, x, y, panel["names"])
        axes.set_xlabel("measured change")
        axes.set_ylabel("predicted change")

    return draw(3.2, 2.9, plot)


def _name_largest(axes: Axes, x: np.ndarray, y: np.ndarray, names: list[str]) -> None:
    """Name the three largest measured changes, those whose names would not overlap."""
    taken: list[tuple[float, float]] = []
    wide, high = np.ptp(x) or 1.0, np.ptp(np.r_[x, y]) or 1.0
    for i in np.argsort(-np.abs(x), kind="stable")[:3]:
        inward = x[i] > (x.min() + x.max()) / 2
        if any(abs(x[i] - a) < 0.3 * wide and abs(y[i] - b) < 0.08 * high for a, b in taken):
            continue
        taken.append((float(x[i]), float(y[i])))
        axes.annotate(
            shorten(names[i], 14), (x[i], y[i]), fontsize=8, color="#24292f",
            xytext=(-4 if inward else 4, 3), textcoords="offset points",
            ha="right" if inward else "left",
        )  # fmt: skip


def _diagonal(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Draw where both are equal, over the range of both."""
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    axes.plot([low, high], [low, high], color=OTHER, lw=0.8, ls=(0, (4, 3)), zorder=0)
