"""`perturbkit fit`: a model, a screen, held-out conditions, a run folder."""

from pathlib import Path
from typing import Annotated

import typer

from perturbkit.cli.options import Force, Quiet, Resume


def fit(
    recipe: Annotated[
        str, typer.Argument(help="A recipe, a model (see `perturbkit list`) or a TOML file.")
    ],
    screen: Annotated[
        str | None, typer.Option(help="A screen's name or a file; default: the recipe's.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")] = Path("runs/new"),
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: --set model.hidden_dim=256 (repeatable)."),
    ] = None,
    *,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Fit a model to a screen, beside every baseline, on the same split."""
    from perturbkit.cli.progress import bar
    from perturbkit.recipes import verbs

    with bar(quiet=quiet) as watch:
        run = verbs.fit(
            recipe, screen=screen, out=out, settings=set_ or (),
            resume=resume, force=force, watch=watch,
        )  # fmt: skip
    typer.echo(f"fitted; the run is in {run.path}")
    typer.echo(f"next: perturbkit score {run.path}")
