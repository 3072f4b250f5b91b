"""Screens that can be opened by name, and `open_screen`, which opens these and any file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perturbkit.core.catalog import Catalog
from perturbkit.core.errors import ConfigError
from perturbkit.core.screen import Screen
from perturbkit.data.screens._adamson2016 import card as adamson2016
from perturbkit.data.screens._lincs_l1000 import card as lincs_l1000
from perturbkit.data.screens._mcfaline2023 import card as mcfaline2023
from perturbkit.data.screens._norman2019 import card as norman2019
from perturbkit.data.screens._op3 import card as op3
from perturbkit.data.screens._papalexi2021 import card as papalexi2021
from perturbkit.data.screens._perturbench_devel import card as perturbench_devel
from perturbkit.data.screens._replogle2022_essential import card as replogle2022_essential
from perturbkit.data.screens._replogle2022_k562 import card as replogle2022_k562
from perturbkit.data.screens._replogle2022_rpe1 import card as replogle2022_rpe1
from perturbkit.data.screens._sciplex3 import card as sciplex3
from perturbkit.data.screens._simulated import card as simulated
from perturbkit.data.screens._vcc2025 import card as vcc2025
from perturbkit.data.screens.card import ScreenCard as ScreenCard
from perturbkit.data.screens.find import open_from

SCREENS = Catalog(ScreenCard, globals())


def streams(names_or_paths: Sequence[str | Path]) -> bool:
    """Return whether these are h5ad files of cells to be read in chunks; else it is one screen.

    Raises:
        ConfigError: several, and one of them is no h5ad file.
    """
    files = [Path(n) for n in names_or_paths]
    listed = {Path(c.file).name for c in SCREENS.values() if c.file}
    chunked = [f.suffix == ".h5ad" and f.name not in listed for f in files]
    if len(files) > 1 and not all(chunked):
        other = files[chunked.index(False)]
        message = f"{other} is not an h5ad file that is read beside others; give it alone"
        raise ConfigError(message)
    return all(chunked)


def open_screen(
    name_or_path: str | Path, *, unit: str | None = None, seed: int = 0, **options: Any
) -> Screen:
    """Open a screen by its catalogue name or from a file.

    Args:
        name_or_path: `simulated`, `op3`, ...; or a path. A file whose name a card knows is read
            by that card, any other h5ad file by its `perturbation` column and stated unit.
        unit: the unit of an h5ad file that does not state its own; it is never guessed.
        seed: seed of what is drawn (the simulated screen).
        options: settings of the screen: of the simulator, or `find.GenericOptions` of a file.

    Raises:
        UnknownNameError: neither a known name nor a path.
        FileError: missing, cut short, damaged, or of another format.
        UnitError: the unit is not stated, or the values cannot be in it.
        SchemaError: columns or arrays missing, no control, names that repeat.
        ConfigError: an option is unknown or of the wrong type.
    """
    return open_from(SCREENS, name_or_path, unit, seed, options)
