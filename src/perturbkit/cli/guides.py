"""`perturbkit guides`: cells labelled by the guides that were counted in them."""

from pathlib import Path
from typing import Annotated

import typer


def guides(
    file: Annotated[Path, typer.Argument(help="10x h5 or folder with CRISPR Guide Capture.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="h5ad file to write.")],
    targets: Annotated[
        Path | None, typer.Option(help="Table with the columns guide and target.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting: method=share, min_umis=5, max_targets=2, ..."),
    ] = None,
) -> None:
    """Say which guides each cell carries and write the labelled cells; others are left out."""
    from perturbkit.core.config import set_value
    from perturbkit.core.errors import FileError
    from perturbkit.data.guides import GuideConfig, assign, guide_targets
    from perturbkit.data.read.h5ad import write_screen
    from perturbkit.data.read.tenx import read_tenx_guides

    values: dict[str, object] = {}
    for assignment in set_ or ():
        set_value(values, assignment)
    config = GuideConfig.parse(values)
    if out.exists():
        message = f"{out} exists already; name another file"
        raise FileError(message)
    genes, counted = read_tenx_guides(file)
    found = assign(genes, counted, guide_targets(counted, targets), config)
    write_screen(found.screen, out)
    typer.echo(f"{found.screen!r} in {out}")
    typer.echo(
        f"left out: {found.n_none:,} cells without a guide, {found.n_many:,} with guides of more "
        f"than {config.max_targets} target(s)"
    )
    typer.echo(f"next: perturbkit check {out}")
