"""`perturbkit names`: the table of gene names that `check` uses to find aliases."""

from pathlib import Path
from typing import Annotated

import typer


def names(
    file: Annotated[Path, typer.Argument(help="hgnc_complete_set.txt from genenames.org.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")],
) -> None:
    """Build or refresh the table of gene names from HGNC's complete set."""
    from perturbkit.data.check.gene_names import GeneNames

    known = GeneNames.read_hgnc(file)
    known.save(out)
    typer.echo(f"{known.table.height:,} genes from {known.source} in {out}")
    typer.echo(f"next: perturbkit check FILE --set names={out}")
