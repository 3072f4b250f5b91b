"""`perturbkit prepare`: cells in, profiles and differential expression out, in one pass."""

from pathlib import Path
from typing import Annotated

import typer

from perturbkit.cli.options import MaxMemory, Quiet


def prepare(
    files: Annotated[list[Path], typer.Argument(help="h5ad files of one screen, by rows.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the values, if the file does not state it.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting: --set min_genes=200, --set control=NT, --set 'where=[\"x>=1\"]'.",
        ),
    ] = None,
    max_memory: MaxMemory = 1500,
    *,
    dry_run: Annotated[bool, typer.Option("--plan", help="Only say what it would take.")] = False,
    quiet: Quiet = False,
) -> None:
    """Filter cells and reduce them to profiles in one streaming pass; a stopped run goes on."""
    from perturbkit.cli.progress import bar
    from perturbkit.core.config import set_value
    from perturbkit.data.prepare import PrepareConfig, plan_of
    from perturbkit.data.prepare import prepare as run

    values: dict[str, object] = {"max_memory_mb": max_memory}
    if unit:
        values["unit"] = unit
    for assignment in set_ or ():
        set_value(values, assignment)
    config = PrepareConfig.parse(values)
    typer.echo(plan_of(files, config).text())
    if dry_run:
        return
    with bar(quiet=quiet) as watch:
        screen = run(files, out, config, watch)
    typer.echo(
        f"{screen!r} in {out / 'profiles.h5ad'}; {out / 'prepare.json'} says what was left out"
    )
    typer.echo(f"next: perturbkit fit lpm --screen {out / 'profiles.h5ad'}")
