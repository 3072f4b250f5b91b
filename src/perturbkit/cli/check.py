"""`perturbkit check`: what a file is, what is wrong with it, and what mends it."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    file: Annotated[Path, typer.Argument(help="An h5ad file.")],
    fix: Annotated[
        Path | None, typer.Option("--fix", help="Write the mended screen to this file.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the values, if you know it.")] = None,
    convention: Annotated[
        str | None, typer.Option(help="Whose labels: gears, cell_load, scperturb, tahoe, ...")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="What you know: --set control=NT (repeatable)."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Say what a file is, what is wrong with it, and what mends it; exit code 1 on errors."""
    import json

    from perturbkit.core.config import set_value
    from perturbkit.core.errors import UnitError, unknown_name
    from perturbkit.core.units import UNITS
    from perturbkit.data.check import CheckOptions
    from perturbkit.data.check import check as look
    from perturbkit.data.check import fix as mend

    if unit and unit not in UNITS:
        raise UnitError(str(unknown_name("unit", unit, UNITS)))
    values: dict[str, object] = {}
    for assignment in set_ or ():
        set_value(values, assignment)
    stated = {"unit": unit, "convention": convention}
    values |= {name: value for name, value in stated.items() if value}
    options = CheckOptions.parse(values)
    report = look(file, options) if fix is None else mend(file, fix, options)
    text = json.dumps(report.plain(), indent=2, ensure_ascii=False) if as_json else report.text()
    typer.echo(text)
    if not report.ok:
        raise typer.Exit(1)
