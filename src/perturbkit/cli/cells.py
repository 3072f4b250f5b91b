"""`perturbkit cells`: what models of single cells answer with."""

from pathlib import Path
from typing import Annotated

import typer

from perturbkit.cli.asking import Conditions, Contexts, Table
from perturbkit.cli.options import Force, Quiet, Resume

app = typer.Typer(no_args_is_help=True, help="Single cells from models of cells.")


@app.command("predict")
def predict(
    run: Annotated[Path, typer.Argument(help="A run of a model of cells.")],
    conditions: Conditions = None,
    context: Contexts = None,
    table: Table = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Cells of each condition.")] = 100,
    out: Annotated[Path, typer.Option("--out", "-o", help="The .h5ad file to write.")] = Path(
        "cells.h5ad"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
) -> None:
    """Draw single cells of conditions; what the model cannot know is refused and has none."""
    from perturbkit.recipes.cells import predict_cells

    drawn = predict_cells(
        run, conditions or (), n=n, contexts=context, table=table, out=out, seed=seed
    )
    n_refused = sum(x is None for x in drawn.x)
    typer.echo(f"wrote {n} cells of each of {len(drawn.x) - n_refused} conditions to {out}")
    if n_refused:
        typer.echo(
            f"{n_refused} conditions were refused and have no cells: the model knows neither the "
            "perturbation nor anything like it, or not the context",
            err=True,
        )


@app.command("store")
def store(
    files: Annotated[list[Path], typer.Argument(help="h5ad files of one screen, by rows.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the values, if the file does not state it.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of prepare: --set control=NT, --set context=line."),
    ] = None,
    *,
    quiet: Quiet = False,
) -> None:
    """Write cells as a memory-mapped store, so that training needs little memory."""
    from perturbkit.cli.progress import bar
    from perturbkit.core.config import set_value
    from perturbkit.data.prepare import PrepareConfig
    from perturbkit.data.store import write_store

    values: dict[str, object] = {"unit": unit} if unit else {}
    for assignment in set_ or ():
        set_value(values, assignment)
    with bar(quiet=quiet) as watch:
        written = write_store(files, out, PrepareConfig.parse(values), watch)
    typer.echo(
        f"{written.n_cells:,} cells of {written.conditions.height:,} conditions, "
        f"{len(written.readouts):,} readouts in {written.unit}, in {out}"
    )
    typer.echo(f"next: perturbkit fit MODEL --screen {out}")


@app.command("fit")
def fit(
    screen: Annotated[str, typer.Argument(help="A screen of cells: its name, file, or store.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: --set model.nlayers=4 (repeatable)."),
    ] = None,
    *,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Train an embedding of cells (STATE's) on their hidden genes."""
    from perturbkit.cli.progress import bar
    from perturbkit.recipes.cell_embedding import fit_cells

    with bar(quiet=quiet) as watch:
        run = fit_cells(
            screen, out=out, settings=set_ or (), resume=resume, force=force, watch=watch
        )
    typer.echo(f"fitted; the run is in {run.path}")
    typer.echo(f"next: perturbkit cells embed {run.path} SCREEN -o embedded.h5ad")


@app.command("embed")
def embed(
    run: Annotated[Path, typer.Argument(help="A run of `perturbkit cells fit`.")],
    screen: Annotated[str, typer.Argument(help="A screen of cells: its name or file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .h5ad file to write.")],
    unit: Annotated[
        str | None, typer.Option(help="Unit of a file that does not state its own.")
    ] = None,
    *,
    as_screen: Annotated[
        bool,
        typer.Option("--as-screen", help="Write the vectors as readouts, to fit models on."),
    ] = False,
) -> None:
    """Write cells with their vectors in obsm["X_state"]."""
    from perturbkit.recipes.cell_embedding import embed_file

    typer.echo(embed_file(run, screen, out, unit=unit, as_screen=as_screen))
    typer.echo(f"wrote {out}")


@app.command("near")
def near(
    reference: Annotated[Path, typer.Argument(help="Embedded cells to look among (.h5ad).")],
    query: Annotated[Path, typer.Argument(help="Embedded cells to look for (.h5ad).")],
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours of each cell.")] = 10,
    label: Annotated[str, typer.Option(help="Column of obs that neighbours vote on.")] = (
        "perturbation"
    ),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write every cell's answer (.parquet).")
    ] = None,
) -> None:
    """Find the nearest embedded cells of each cell, and what most of them are."""
    from perturbkit.cli.tables import print_table
    from perturbkit.recipes.cell_embedding import nearest_cells
    from perturbkit.recipes.tables import write_table

    table = nearest_cells(reference, query, k, label=label)
    counts = table["label"].value_counts(sort=True).head(10)
    print_table(f"{label} of most neighbours", counts.to_dicts())
    if out is not None:
        write_table(table, out)
        typer.echo(f"wrote {out}")
