"""What the commands of `perturbkit design` read: networks, lists, earlier screens, pilots."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

if TYPE_CHECKING:
    import polars as pl

    from perturbkit.core.campaign import Campaign
    from perturbkit.design.knowledge import Knowledge
    from perturbkit.design.planning import Pilot


class Sources(NamedTuple):
    """Files that say something of genes before they are tested."""

    graphs: Path | None
    essentials: Path | None
    earlier: list[Path]
    expressed: Path | None


def data_folder() -> Path | None:
    """Return the folder of real data named by the environment, if any."""
    import os

    folder = os.environ.get("PERTURBKIT_DATA")
    return Path(folder) if folder else None


def campaign_knowledge(campaign: "Campaign", sources: Sources) -> "Knowledge":
    """Return what the sources say of a campaign's pool; without any, its own columns."""
    from perturbkit.design.campaign import genes_of
    from perturbkit.design.gather import from_columns

    if sources == Sources(None, None, [], None):
        return from_columns(campaign.pool)
    return pool_knowledge(genes_of(campaign), sources)


def pool_knowledge(genes: list[str], sources: Sources) -> "Knowledge":
    """Return what the sources say of genes; networks default to those of the data folder."""
    import numpy as np

    from perturbkit.core.errors import FileError
    from perturbkit.design.gather import gather
    from perturbkit.design.tables import open_replay, read_essentials, size_by_gene

    graphs, folder = sources.graphs, data_folder()
    if graphs is None and folder is not None:
        graphs = folder / "graphs"
    if graphs is None:
        message = "no networks are given; name a folder with STRING or hu.MAP by --graphs"
        raise FileError(message)
    barred = read_essentials(sources.essentials) if sources.essentials else set()
    earlier = {str(p): size_by_gene(open_replay(p, folder)) for p in sources.earlier}
    listed = read_essentials(sources.expressed) if sources.expressed else None
    expressed = {str(sources.expressed): listed} if listed else None
    return gather(genes, graphs, np.random.default_rng(0), barred, earlier, expressed)


def read_pilot(path: Path) -> "Pilot":
    """Estimate the spreads of a pilot's cells: columns value, gene, guide, replicate.

    Raises:
        FileError: not a table.
        SchemaError: a column is missing, or too few guides or cells.
    """
    import polars as pl

    from perturbkit.core.errors import FileError, SchemaError
    from perturbkit.core.files import existing
    from perturbkit.design.planning import pilot_from_cells

    try:
        table = pl.read_csv(existing(path, "pilot"), infer_schema_length=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        message = f"{path} is no table ({error}); write the pilot's cells as CSV"
        raise FileError(message) from error
    missing = [c for c in ("value", "gene", "guide", "replicate") if c not in table.columns]
    if missing:
        message = (
            f"{path} has the columns {', '.join(table.columns)} and lacks {', '.join(missing)}; a "
            "pilot has a row for each cell: value, gene, guide, replicate"
        )
        raise SchemaError(message)
    columns = [table[c].cast(pl.String).to_numpy() for c in ("gene", "guide", "replicate")]
    return pilot_from_cells(table["value"].cast(pl.Float64).to_numpy(), *columns)


def write_order_list(table: "pl.DataFrame", out: Path | None) -> None:
    """Write the order list to a file, or print it."""
    from perturbkit.core.files import write_text

    text = table.write_csv()
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
