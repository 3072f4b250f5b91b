"""`perturbkit de`: which readouts each perturbation changes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from perturbkit.cli.options import MaxMemory


def de(
    screen: Annotated[
        list[str], typer.Argument(help="A screen of cells: a name, or h5ad files of one screen.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the values, if the file does not state it.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="wilcoxon, welch, or pydeseq2 (pseudobulk of batches).")
    ] = "wilcoxon",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, as of prepare: --set control=NT (repeatable)."),
    ] = None,
    fdr: Annotated[float, typer.Option(help="The rate below which a change counts.")] = 0.05,
    max_memory: MaxMemory = 1500,
) -> None:
    """Compare the cells of each perturbation with the controls of its context."""
    from perturbkit.cli.progress import bar
    from perturbkit.core.config import set_value
    from perturbkit.core.files import atomic_path
    from perturbkit.data.de import METHODS, differential_expression
    from perturbkit.data.prepare import PrepareConfig, plan_of, stream_de
    from perturbkit.data.screens import open_screen, streams

    options: dict[str, Any] = {}
    for assignment in set_ or ():
        set_value(options, assignment)
    if method not in METHODS:
        from perturbkit.core.errors import ConfigError, unknown_name

        raise ConfigError(str(unknown_name("method", method, METHODS)))
    if streams(screen):
        stated = {"max_memory_mb": max_memory, "de": method} | ({"unit": unit} if unit else {})
        config = PrepareConfig.parse(stated | options)
        typer.echo(plan_of(screen, config).text())
        with bar() as watch:
            stream_de(screen, out, config, watch)
    else:
        cells = open_screen(screen[0], unit=unit, **options)
        table = differential_expression(cells, method)  # pyright: ignore[reportArgumentType]
        with atomic_path(out) as temporary:
            table.write_parquet(temporary)
    _say(out, fdr)


def _say(out: Path, fdr: float) -> None:
    """Say how many tests there are and which conditions change most."""
    import polars as pl

    table = pl.scan_parquet(out)
    total = table.select("perturbation", "context").unique().select(pl.len()).collect().item()
    changed = (
        table.filter(pl.col("fdr") < fdr).group_by("perturbation", "context").len()
        .sort("len", "perturbation", descending=[True, False]).collect()
    )  # fmt: skip
    n_tests = table.select(pl.len()).collect().item()
    typer.echo(f"{n_tests:,} tests in {out}")
    typer.echo(f"{changed.height:,} of {total:,} conditions change a readout at FDR {fdr:g}")
    for name, context, n in changed.head(5).rows():
        typer.echo(f"  {name} in {context}: {n:,} readouts")
