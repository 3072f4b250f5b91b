"""One HTML file that opens anywhere: no scripts, nothing fetched, every name escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from perturbkit.core.files import write_text
from perturbkit.core.run import Run
from perturbkit.report import figures
from perturbkit.report.summarise import summarise
from perturbkit.report.verdict import percent


def write_report(run: Run, path: str | Path | None = None) -> Path:
    """Write the report of a run and return its path.

    Args:
        run: fitted or not, scored or not; what is missing is said.
        path: where to; by default `report.html` in the run's folder.

    Raises:
        FileError: a file of the run is broken, or the report cannot be written.
    """
    target = run.path / "report.html" if path is None else Path(path)
    write_text(target, render(summarise(run)))
    return target


def render(summary: dict[str, Any]) -> str:
    """Return the page of a summary."""
    environment = Environment(
        loader=PackageLoader("perturbkit.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"num": number, "signed": signed, "percent": percent, "count": count}
    return environment.get_template("report.html").render(s=summary, pictures=pictures(summary))


def pictures(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the SVG elements of a summary; those that it lacks are None or empty."""
    learning, compared = summary["learning"], summary["against"]
    # the figures escape names themselves; their markup is not to be escaped again
    return {
        "scores": [Markup(figures.score_bars(m)) for m in summary["scores"]],  # noqa: S704
        "learning": Markup(figures.learning_curve(learning)) if learning else None,  # noqa: S704
        "against": (
            Markup(figures.against(compared, summary["model"])) if compared else None  # noqa: S704
        ),
        "scatters": [Markup(figures.scatter(p)) for p in summary["scatters"]],  # noqa: S704
    }


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as people read it; an en dash for none."""
    if value is None:
        return "–"
    size = abs(value)
    if size and size < 10**-digits:
        return f"{value:.1e}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    """Return a difference with its sign, to three digits; none for what rounds to 0."""
    if value is None:
        return "–"
    return "0.000" if abs(value) < 0.0005 else f"{'+' if value > 0 else ''}{number(value)}"


def count(value: float | None) -> str:
    """Return a whole number with thousands apart."""
    return "–" if value is None else f"{value:,.0f}"
