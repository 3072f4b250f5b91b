"""`perturbkit export`: a screen's profiles as a long table, for other programs."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    screen: Annotated[str, typer.Argument(help="A screen's name or file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .parquet or .csv file to write.")],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the values, if the file does not state it.")
    ] = None,
) -> None:
    """Write perturbation, context, dose, time, readout, value; no row where nothing was measured.

    Cells are averaged to profiles. The table opens again as a screen.
    """
    from perturbkit.data.profiles import responses_of
    from perturbkit.data.read.tables import as_long
    from perturbkit.data.screens import open_screen
    from perturbkit.recipes.tables import write_table

    measured = responses_of(open_screen(screen, unit=unit))
    table = as_long(measured)
    write_table(table, out)
    typer.echo(f"{table.height:,} values of {len(measured.keys)} conditions, unit {measured.unit}")
    typer.echo(f"{out}; read it with --unit {measured.unit}")
