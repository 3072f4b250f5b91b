"""`perturbkit de`: which readouts each perturbation changes."""

from pathlib import Path
from typing import Annotated, Any

import typer


def de(
    screen: Annotated[str, typer.Argument(help="A screen of cells: a name or a file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the values, if the file does not state it.")
    ] = None,
    method: Annotated[str, typer.Option(help="wilcoxon or welch.")] = "wilcoxon",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the screen: --set control=NT.")
    ] = None,
    fdr: Annotated[float, typer.Option(help="The rate below which a change counts.")] = 0.05,
) -> None:
    """Compare the cells of each perturbation with the controls of its context."""
    import polars as pl

    from perturbkit.core.config import set_value
    from perturbkit.core.files import atomic_path
    from perturbkit.data.de import differential_expression
    from perturbkit.data.screens import open_screen

    options: dict[str, Any] = {}
    for assignment in set_ or ():
        set_value(options, assignment)
    cells = open_screen(screen, unit=unit, **options)
    table = differential_expression(cells, method)  # pyright: ignore[reportArgumentType]
    with atomic_path(out) as temporary:
        table.write_parquet(temporary)
    changed = table.filter(pl.col("fdr") < fdr).group_by("perturbation", "context").len()
    total = table.select("perturbation", "context").n_unique()
    typer.echo(f"{table.height:,} tests in {out}")
    typer.echo(f"{changed.height:,} of {total:,} conditions change a readout at FDR {fdr:g}")
    for name, context, n in changed.sort("len", descending=True).head(5).rows():
        typer.echo(f"  {name} in {context}: {n:,} readouts")
