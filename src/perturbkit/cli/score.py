"""`perturbkit score`: held-out scores beside every baseline and the ceiling."""

from pathlib import Path
from typing import Annotated

import typer


def score(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric (repeatable); default: the usual ones.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the table: .csv or .parquet.")
    ] = None,
) -> None:
    """Score a run on its held-out conditions, with bootstrap intervals over conditions."""
    from perturbkit.cli.tables import print_table
    from perturbkit.recipes import verbs
    from perturbkit.recipes.summaries import gaps, score_rows, verdict

    scores = verbs.score(run, metrics=metric, out=out)
    print_table("held-out scores, mean over conditions [95 % interval]", score_rows(scores))
    model = scores.models[0]
    typer.echo(verdict(scores, model))
    for note in scores.notes:
        typer.echo(f"note: {note}")
    missing = [g for g in gaps(scores) if g.startswith(f"{model},")]
    if missing:
        typer.echo(f"could not be computed: {'; '.join(missing)}", err=True)
        raise typer.Exit(1)
