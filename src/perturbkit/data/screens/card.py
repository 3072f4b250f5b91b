"""What the family of screens promises."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.catalog import Card
from perturbkit.core.config import Config
from perturbkit.core.screen import Screen

Reader = Callable[[Path | None, Mapping[str, Any], np.random.Generator], Screen]
"""`read(path, options, rng) -> Screen`; path is None for screens made without a file."""


@dataclass(frozen=True, kw_only=True)
class ScreenCard(Card):
    """A screen that can be opened by name, or by the name of its file."""

    read: Reader
    """makes the Screen"""
    file: str = ""
    """where the file lies below the data folder; empty for screens made without a file"""
    organism: str
    """species of the cells"""
    licence: str
    """terms of the data"""
    url: str
    """where the data come from"""
    download: str = ""
    """https address of the file itself; empty where it is got by hand"""
    sha256: str = ""
    """checksum of the file this card was written for; without one nothing is downloaded"""
    unit: str
    """unit of X"""
    holds: str
    """what it holds: level, size, perturbations, contexts"""


class NoOptions(Config):
    """For screens that have nothing to choose."""
