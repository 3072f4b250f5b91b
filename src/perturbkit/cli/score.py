"""`perturbkit score`: held-out scores, or anyone's predictions, beside baselines and ceiling."""

from pathlib import Path
from typing import Annotated

import typer


def score(  # noqa: PLR0913, PLR0917  (the options of two ways to score)
    run: Annotated[Path, typer.Argument(help="A run's folder; or, with --truth, predictions.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric (repeatable); default: the usual ones.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the table: .csv or .parquet.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Also a table by effect, subgroup, context, ... of the conditions."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="Measured cells or means, a file or a screen: score predictions."),
    ] = None,
    profile: Annotated[str, typer.Option(help="With --truth: full, vcc, minimal, ...")] = "",
    compat: Annotated[str, typer.Option(help="With --truth: cell-eval, for its rules.")] = "",
    perturbation: Annotated[str, typer.Option(help="With --truth: column of labels.")] = "",
    control: Annotated[str, typer.Option(help="With --truth: label of the controls.")] = "",
    context: Annotated[str, typer.Option(help="With --truth: column of contexts.")] = "",
    unit: Annotated[str, typer.Option(help="With --truth: unit of both files.")] = "",
) -> None:
    """Score a run, or with --truth a file of predictions, on held-out conditions."""
    from perturbkit.cli.tables import print_table

    settings = {"profile": profile, "compat": compat, "perturbation": perturbation,
                "control": control, "context": context, "unit": unit}  # fmt: skip
    if truth is not None:
        from perturbkit.cli.foreign import score_file

        score_file(run, truth, settings=settings, out=out)
        return
    stated = [name for name, value in settings.items() if value]
    if stated:
        message = f"--{stated[0]} is for files of predictions; add --truth with the measurements"
        raise typer.BadParameter(message)
    from perturbkit.recipes import verbs
    from perturbkit.recipes.judge import calibration_of
    from perturbkit.recipes.summaries import calibration_rows, gaps, score_rows, verdict

    scores = verbs.score(run, metrics=metric, out=out)
    print_table("held-out scores, mean over conditions [95 % interval]", score_rows(scores))
    model = scores.models[0]
    typer.echo(verdict(scores, model))
    if by is not None:
        strata = scores.by(by).select(by, "model", "metric", "value", "low", "high", "n", "reason")
        print_table(f"by {by}", strata.to_dicts())
    calibration = calibration_of(run)
    if calibration is not None:
        print_table(f"stated and observed uncertainty of {model}", calibration_rows(calibration))
    for note in scores.notes:
        typer.echo(f"note: {note}")
    missing = [g for g in gaps(scores) if g.startswith(f"{model},")]
    if missing:
        typer.echo(f"could not be computed: {'; '.join(missing)}", err=True)
        raise typer.Exit(1)
