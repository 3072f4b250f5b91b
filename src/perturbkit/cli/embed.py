"""`perturbkit embed`: what an LPM learned of perturbations and contexts, as tables and a map."""

from pathlib import Path
from typing import Annotated

import typer


def embed(
    run: Annotated[Path, typer.Argument(help="The folder of a fitted lpm.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the tables.")],
    top: Annotated[int, typer.Option(min=1, help="Neighbours of each perturbation.")] = 10,
) -> None:
    """Write embeddings, maps, nearest neighbours, and compounds beside genetic targets."""
    from perturbkit.recipes.embeddings import write_embeddings

    for name, n in write_embeddings(run, out, top).items():
        typer.echo(f"{out / name}.csv: {n} rows")
    typer.echo(f"map: {out / 'perturbation.svg'}")
