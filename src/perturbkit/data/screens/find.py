"""From a name or a path to a Screen: what `--screen` means."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from perturbkit.core.catalog import Catalog
from perturbkit.core.condition import CONTROL
from perturbkit.core.errors import FileError, SchemaError, UnitError, UnknownNameError, unknown_name
from perturbkit.core.fetch import Download, cache_folder, fetch
from perturbkit.core.files import existing
from perturbkit.core.rng import named_rng
from perturbkit.core.screen import Screen
from perturbkit.core.units import UNITS
from perturbkit.data.read.any import read_any, with_labels
from perturbkit.data.read.conventions import convention, recognise, translated
from perturbkit.data.read.h5ad import STAMP, stated_unit
from perturbkit.data.read.labels import LabelOptions
from perturbkit.data.read.tables import TableOptions
from perturbkit.data.screens.card import ScreenCard

DATA_VARIABLE = "PERTURBKIT_DATA"


class GenericOptions(LabelOptions):
    """How to read an h5ad file that no card knows."""

    level: Literal["cells", "profiles"] | None = None
    """what the rows are; by default what the file states, else cells"""
    label: str | None = None
    """the perturbation of a table of one contrast"""
    value: str | None = None
    """the column of a table to read as the one readout"""
    labels: str | None = None
    """a table whose first column names rows and whose others label them, for 10x files"""


def open_from(
    cards: Catalog[ScreenCard],
    name_or_path: str | Path,
    unit: str | None,
    seed: int,
    options: Mapping[str, Any],
) -> Screen:
    """Open a screen of a catalogue by name, or a file; see `screens.open_screen`."""
    if unit is not None and unit not in UNITS:
        raise UnitError(str(unknown_name("unit", unit, UNITS)))
    name = str(name_or_path)
    if name in cards:
        return _read_card(cards[name], None, unit, seed, options)
    path = Path(name_or_path)
    looks_like_path = bool(path.suffix) or len(path.parts) > 1 or isinstance(name_or_path, Path)
    if not path.exists() and not looks_like_path:
        message = f"{unknown_name('screen', name, cards)}; or give the path of a file"
        raise UnknownNameError(message)
    file = existing(path, "screen")
    for card in cards.values():
        if card.file and Path(card.file).name == file.name:
            return _read_card(card, file, unit, seed, options)
    return read_generic(file, unit, options)


def _read_card(
    card: ScreenCard, path: Path | None, unit: str | None, seed: int, options: Mapping[str, Any]
) -> Screen:
    if unit and unit != card.unit:
        message = f"{card.name} is in {card.unit}, not in {unit}; drop the unit option"
        raise UnitError(message)
    if card.file and path is None:
        path = located(card)
    return card.read(path, options, named_rng(seed, "screen", card.name))


def located(card: ScreenCard) -> Path:
    """Return the card's file: in a folder of real data, in the cache, or downloaded into it.

    Raises:
        FileError: it is in none of the places and cannot be downloaded with a check; says how to
            get it.
    """
    stated = os.environ.get(DATA_VARIABLE)
    shared = Path("shared") / "data"
    near = [Path.cwd().parent / shared, Path(__file__).parents[4].parent / shared]
    places = [Path(stated)] if stated else near
    for place in (*places, cache_folder()):
        if (place / card.file).is_file():
            return place / card.file
    if card.download and card.sha256:
        wanted = Download(
            name=Path(card.file).name,
            urls=(card.download,),
            sha256=card.sha256,
            licence=card.licence,
        )
        return fetch(wanted, cache_folder() / Path(card.file).parent)
    why = (
        "it is not downloaded, as its SHA-256 is not known: download it by hand from "
        f"{card.download or card.url}"
        if not card.sha256
        else f"data: {card.url}"
    )
    message = (
        f"{card.name} needs {card.file}, which is not below {places[0]}; set {DATA_VARIABLE} to "
        f"the folder that holds it, or give the file's path ({why})"
    )
    raise FileError(message)


def read_generic(file: Path, unit: str | None, options: Mapping[str, Any]) -> Screen:
    """Read a file that no card knows.

    Raises:
        FileError: damaged, or of no format that is read here.
        SchemaError: columns missing, no control.
        UnitError: no unit stated, or values that contradict it.
        ConfigError: an unknown option.
    """
    chosen = GenericOptions.parse(dict(options), file.name)
    about = TableOptions(chosen.perturbation, chosen.label, chosen.value)
    adata, rows_are = read_any(file, about)
    if rows_are == "profiles" and "perturbation" in adata.obs.columns:
        chosen = chosen.replace(perturbation="perturbation")
    if chosen.labels is not None:
        adata = with_labels(adata, chosen.labels)
    found = stated_unit(adata, unit, file.name)
    stamp = adata.uns.get(STAMP)
    level = chosen.level or (str(stamp["level"]) if isinstance(stamp, dict) else rows_are)
    if chosen.convention is not None:
        adata.obs = translated(
            adata.obs,
            convention(chosen.convention),
            chosen.control,
            list(map(str, adata.var_names)),
            adata.uns,
        )
        chosen = GenericOptions(kind=chosen.kind, level=chosen.level)
    _require_labels(adata.obs, chosen.perturbation, file)
    named = {n: getattr(chosen, n) for n in ("context", "batch", "dose_um", "time_h")}
    columns = {n: c for n, c in named.items() if c}
    if chosen.control is not None:
        _rename_control(adata.obs, chosen.perturbation, chosen.control, file)
    return Screen.of(
        adata,
        level=level,  # pyright: ignore[reportArgumentType]  (checked by Screen)
        unit=found,  # pyright: ignore[reportArgumentType]  (checked by Screen)
        perturbation=chosen.perturbation,
        columns=columns,
        constants={"kind": chosen.kind} if chosen.kind else None,
    )


def _require_labels(obs: Any, column: str, file: Path) -> None:
    if column in obs.columns:
        return
    found = f"obs has no column {column!r}; it has {', '.join(map(str, obs.columns)) or 'none'}"
    rules = recognise(obs.columns)
    hint = (
        f"; it looks as {rules[0].says} writes: state convention {rules[0].name}" if rules else ""
    )
    message = f"{file.name}: {found}{hint or ': name one of these'}"
    raise SchemaError(message)


def _rename_control(obs: Any, column: str, control: str, file: Path) -> None:
    labels = obs[column].astype(str)
    if not (labels == control).any():
        message = str(unknown_name("control label", control, sorted(labels.unique())))
        raise SchemaError(f"{file.name}: {message}")
    obs[column] = labels.where(labels != control, CONTROL)
