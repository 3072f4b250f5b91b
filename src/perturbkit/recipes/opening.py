"""What a study is about: a screen in memory, or a cell store on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.errors import ConfigError
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen
from perturbkit.data.store import CellStore, describe_store, responses_of_store, store_of
from perturbkit.data.store.cells import MANIFEST
from perturbkit.recipes.experiment import ScreenConfig


@dataclass(frozen=True, eq=False)
class Opened:
    """A screen's data, wherever its cells are."""

    data: Screen | CellStore

    def describe(self) -> dict[str, Any]:
        """Return what the report says of the screen."""
        if isinstance(self.data, CellStore):
            return describe_store(self.data)
        return self.data.describe()

    def truth(self, rng: np.random.Generator) -> Responses:
        """Return the measured response of each condition; `rng` splits cells into halves."""
        if isinstance(self.data, CellStore):
            return responses_of_store(self.data, rng)
        return responses_of(self.data, rng)

    @property
    def has_cells(self) -> bool:
        """Whether there are single cells."""
        return isinstance(self.data, CellStore) or self.data.level == "cells"

    def cells(self) -> CellStore:
        """Return the single cells.

        Raises:
            SchemaError: the screen holds profiles.
        """
        return self.data if isinstance(self.data, CellStore) else store_of(self.data)


def open_source(config: ScreenConfig, seed: int) -> Opened:
    """Open a screen by name, from a file, or a folder that holds a cell store.

    Raises:
        PerturbkitError: unknown names, unreadable files, a wrong unit.
        ConfigError: options that a store does not take.
    """
    folder = Path(config.source)
    if not (folder / MANIFEST).is_file():
        return Opened(open_screen(config.source, unit=config.unit, seed=seed, **config.options))
    store = CellStore.open(folder)
    if config.options or config.unit not in (None, store.unit):
        message = (
            f"{folder} is a cell store in {store.unit}, which takes no unit and no options; "
            "drop them, or write the store again with the labels and unit it should have"
        )
        raise ConfigError(message)
    return Opened(store)
