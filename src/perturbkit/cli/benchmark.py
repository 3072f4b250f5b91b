"""`perturbkit benchmark`: every model on every task, one leaderboard."""

from pathlib import Path
from typing import Annotated

import typer


def benchmark(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Shipped tasks or TOML files; none: all shipped.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the leaderboard and the predictions.")
    ] = Path("leaderboard"),
) -> None:
    """Fit, predict and score every model of every task; go on where an earlier call stopped."""
    from perturbkit.recipes.benchmark import benchmark as run
    from perturbkit.recipes.benchmark import shipped

    def told(what: str, done: int, total: int) -> None:
        typer.echo(f"{what} ({done + 1} of {total})", err=True)

    table = run(tasks or list(shipped()), out, watch=told)
    for task, model in table.filter(rank=1).unique(["task", "metric"], keep="first",
                                                   maintain_order=True).group_by(
        "task", maintain_order=True).first().select("task", "model").rows():  # fmt: skip
        typer.echo(f"{task}: {model} is first")
    typer.echo(f"leaderboard: {out / 'leaderboard.html'}")
