"""What the commands of `perturbkit design` read: networks, lists, earlier screens, pilots."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

if TYPE_CHECKING:
    import polars as pl

    from perturbkit.core.campaign import Campaign
    from perturbkit.design.knowledge import Knowledge
    from perturbkit.design.planning import Pilot


SOURCES_FILE = "sources.json"
"""In a campaign's folder: the files that its last choice rested on."""


class Sources(NamedTuple):
    """Files that say something of genes before they are tested."""

    graphs: Path | None = None
    essentials: Path | None = None
    earlier: tuple[Path, ...] = ()
    other: tuple[Path, ...] = ()
    expressed: Path | None = None

    @property
    def named(self) -> dict[str, list[str]]:
        """Those that were named, by option: absolute paths, or names of known screens."""
        given = {
            n: [v] if isinstance(v, Path) else list(v or ()) for n, v in self._asdict().items()
        }
        return {n: [str(_absolute(p)) for p in paths] for n, paths in given.items() if paths}

    @classmethod
    def of(cls, named: dict[str, list[str]]) -> "Sources":
        """Return the sources that `named` tells of."""
        paths = {n: tuple(Path(p) for p in named.get(n, ())) for n in cls._fields}
        one = {n: next(iter(paths[n]), None) for n in ("graphs", "essentials", "expressed")}
        return cls(**one, earlier=paths["earlier"], other=paths["other"])


def _absolute(path: Path) -> Path:
    return path.absolute() if path.exists() else path


def remembered(folder: Path, sources: Sources) -> Sources:
    """Return the sources, or those of the last round where none is named.

    A campaign that goes on after months then rests on what it rested on before.
    """
    from perturbkit.core.files import read_json

    file = folder / SOURCES_FILE
    if sources.named or not file.exists():
        return sources
    named = read_json(file)
    listed = " ".join(f"--{n} {p}" for n, paths in named.items() for p in paths)
    typer.echo(f"sources as in the round before: {listed}", err=True)
    return Sources.of(named)


def remember(folder: Path, sources: Sources) -> None:
    """Keep the sources of a choice that was made; without any there is nothing to keep."""
    from perturbkit.core.files import write_json

    if sources.named:
        write_json(folder / SOURCES_FILE, sources.named)


def data_folder() -> Path | None:
    """Return the folder of real data named by the environment, if any."""
    import os

    folder = os.environ.get("PERTURBKIT_DATA")
    return Path(folder) if folder else None


def campaign_knowledge(campaign: "Campaign", sources: Sources) -> "Knowledge":
    """Return what the sources say of a campaign's pool; without any, its own columns."""
    from perturbkit.design.campaign import genes_of
    from perturbkit.design.gather import from_columns

    if not sources.named:
        known = from_columns(campaign.pool)
        if not known.features_cd.any():
            typer.echo(
                "nothing is known of the pool: it has no numeric columns and no --graphs, "
                "--essentials, --earlier, --other or --expressed is named; choices are by chance",
                err=True,
            )  # fmt: skip
        return known
    return pool_knowledge(genes_of(campaign), sources)


def pool_knowledge(genes: list[str], sources: Sources) -> "Knowledge":
    """Return what the sources say of genes; networks default to those of the data folder."""
    import numpy as np

    from perturbkit.core.errors import FileError
    from perturbkit.design.gather import Hints, gather
    from perturbkit.design.tables import open_replay, read_essentials, size_by_gene

    graphs, folder = sources.graphs, data_folder()
    if graphs is None and folder is not None:
        graphs = folder / "graphs"
    if graphs is None:
        message = (
            "no networks are given; name a folder with STRING or hu.MAP files by --graphs, or one "
            "that has a folder graphs by the environment variable PERTURBKIT_DATA"
        )
        raise FileError(message)

    def read(screens: tuple[Path, ...]) -> dict[str, dict[str, float]]:
        return {str(p): size_by_gene(open_replay(p, folder)) for p in screens}

    listed = sources.expressed
    hints = Hints(
        essentials=read_essentials(sources.essentials) if sources.essentials else (),
        earlier=read(sources.earlier), others=read(sources.other),
        expressed={str(listed): read_essentials(listed)} if listed else {},
    )  # fmt: skip
    return gather(genes, graphs, np.random.default_rng(0), hints)


def read_pool(path: Path) -> "pl.DataFrame":
    """Read the conditions of a campaign; a column gene is as good as perturbation.

    Raises:
        FileError: not a table.
        SchemaError: neither column is there.
    """
    import polars as pl

    from perturbkit.core.errors import FileError, SchemaError
    from perturbkit.core.files import existing

    try:
        table = pl.read_csv(existing(path, "pool"), infer_schema_length=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        message = f"{path} is no table ({error}); write the pool as CSV"
        raise FileError(message) from error
    if "perturbation" in table.columns:
        return table
    named = next((c for c in table.columns if c.casefold() == "gene"), None)
    if named is None:
        message = (
            f"{path} has the columns {', '.join(table.columns)}; a pool needs a column gene, or "
            "perturbation where conditions are combinations such as A+B"
        )
        raise SchemaError(message)
    return table.rename({named: "perturbation"})


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
