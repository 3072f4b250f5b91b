"""`perturbkit sweep`: data x model x seed, as a grid or a search, resumable and in parallel."""

from pathlib import Path
from typing import Annotated

import typer


def sweep(
    study: Annotated[Path, typer.Argument(help="A TOML file: models, data, seeds; see the docs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the runs.")] = Path("sweep"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes at a time.")] = 1,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster, or local, in place of processes.")
    ] = None,
) -> None:
    """Run every combination that has no result yet; the best is chosen on validation."""
    from perturbkit.cli.tables import print_table
    from perturbkit.recipes.sweep import read_study
    from perturbkit.recipes.sweep_results import write_results
    from perturbkit.recipes.sweep_run import run_sweep

    planned = read_study(study)

    def told(row: dict) -> None:
        value = row.get(planned.metric)
        found = "no value" if value is None else f"{value:.4g}"
        said = row.get("error") or f"{planned.metric} {found}"
        what = f"{row['model']} ({row['settings']})" if row["settings"] else row["model"]
        typer.echo(f"{row['screen']}, {what}, seed {row['seed']}: {said}", err=True)

    rows = run_sweep(planned, out, jobs=jobs, ray=ray, told=told)
    best = write_results(rows, out, planned.metric)
    print_table("best settings of each model, chosen on validation", best.to_dicts())
    typer.echo(f"all runs: {out / 'results.csv'}")
    n_failed = sum("error" in row for row in rows)
    if n_failed:
        typer.echo(f"{n_failed} of {len(rows)} runs failed; see the column error", err=True)
        raise typer.Exit(1)
