"""`perturbkit predict`: any conditions, from the saved run alone, each with its status."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perturbkit.cli.asking import Conditions, Contexts, Table

if TYPE_CHECKING:
    from perturbkit.core.responses import Responses

_HINTS = 5
"""unknown names that are told apart"""


def predict(  # noqa: PLR0913, PLR0917  (options of a command)
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    conditions: Conditions = None,
    context: Contexts = None,
    table: Table = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to write: .csv, .tsv or .parquet; else a summary."),
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option(help="With --out: a row for each value, with low and high, as 0.8 for 80 %."),
    ] = None,
    controls: Annotated[
        Path | None,
        typer.Option(help="A screen whose controls describe contexts that the run never saw."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="Unit of --controls where the file states none; default: the run's."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Readouts to name in the summary.")] = 5,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Every perturbation in every context, into --out .h5ad.")
    ] = False,
) -> None:
    """Predict what conditions would do; what the model cannot know is refused, never zero."""
    from perturbkit.cli.tables import print_table
    from perturbkit.recipes import verbs
    from perturbkit.recipes.experiment import ScreenConfig
    from perturbkit.recipes.summaries import prediction_rows

    if unit is not None and controls is None:
        message = "--unit is for the file of --controls"
        raise typer.BadParameter(message)
    if interval is not None and out is None:
        message = "--interval is for files; add --out FILE.csv"
        raise typer.BadParameter(message)
    if every:
        from perturbkit.recipes.grid import write_grid

        if out is None:
            message = "--all needs --out FILE.h5ad"
            raise typer.BadParameter(message)
        n_conditions, n_readouts = write_grid(run, out)
        typer.echo(f"wrote {n_conditions} conditions x {n_readouts} readouts to {out}")
        return
    new = None if controls is None else ScreenConfig(source=str(controls), unit=unit)
    predicted = verbs.predict(
        run,
        conditions or (),
        contexts=context,
        table=table,
        out=out,
        level=interval,
        controls=new,
    )
    origin = verbs.predicted_controls(run, predicted, new)
    print_table("predictions", prediction_rows(predicted, origin, top))
    if out is not None:
        typer.echo(f"wrote {out}")
    _say_refused(run, predicted)


def _say_refused(run: Path, predicted: "Responses") -> None:
    """Say how many conditions have no answer, and which names may be misspelt."""
    from perturbkit.recipes.summaries import refusals

    n_refused = int((predicted.conditions["status"] == "refused").sum())
    if not n_refused:
        return
    typer.echo(
        f"{n_refused} of {len(predicted.keys)} conditions were refused: the model knows "
        "neither the perturbation nor anything like it, or not the context",
        err=True,
    )
    for hint in refusals(run, predicted)[:_HINTS]:
        typer.echo(f"  {hint}", err=True)
