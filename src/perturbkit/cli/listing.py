"""`perturbkit list`: what there is, from the cards."""

from typing import Annotated

import typer


def listing(
    family: Annotated[
        str | None, typer.Argument(help="models, metrics, screens, splits, recipes, ...")
    ] = None,
) -> None:
    """Show the members of a family, or of all of them."""
    from perturbkit.cli.tables import print_table
    from perturbkit.recipes.families import members

    for name, rows in members(family).items():
        print_table(name, rows)
