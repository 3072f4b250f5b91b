"""`perturbkit report`: one HTML file that works offline."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write; default: in the run.")
    ] = None,
) -> None:
    """Write a run's report."""
    from perturbkit.recipes import verbs

    typer.echo(f"report: {verbs.report(run, out=out)}")
