"""Spread: how far a prediction may be off, and intervals made of it."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from perturbkit.core.errors import SchemaError


@dataclass(frozen=True, eq=False)
class Spread:
    """Symmetric intervals around a prediction, of any level between the first and the last."""

    scale_cg: np.ndarray
    """float32 [conditions, readouts], in the unit of the values; NaN where nothing is predicted"""
    levels: tuple[float, ...]
    """nominal levels, rising, within 0 and 1"""
    factors: tuple[float, ...]
    """half widths at these levels, in units of the scale"""

    def __post_init__(self) -> None:
        rising = all(np.diff(x).min(initial=0) >= 0 for x in (self.levels, self.factors))
        if len(self.levels) != len(self.factors) or not self.levels or not rising:
            message = "a spread needs rising levels and as many rising factors"
            raise SchemaError(message)

    def half_width(self, level: float) -> np.ndarray:
        """Return half of the width of the interval of a level, [c, g].

        Raises:
            SchemaError: the level lies outside of those that were calibrated.
        """
        if not self.levels[0] <= level <= self.levels[-1]:
            message = (
                f"an interval of level {level:g} was not calibrated; ask for "
                f"{self.levels[0]:g} to {self.levels[-1]:g}"
            )
            raise SchemaError(message)
        return self.scale_cg * np.float32(np.interp(level, self.levels, self.factors))

    def select(self, rows: np.ndarray) -> Self:
        """Return the spread of some conditions, by positions."""
        return replace(self, scale_cg=self.scale_cg[rows])

    def with_readouts(self, columns: np.ndarray) -> Self:
        """Return the spread of some readouts, by positions."""
        return replace(self, scale_cg=self.scale_cg[:, columns])

    def plain(self) -> dict[str, Any]:
        """Return levels and factors as plain values."""
        return {"levels": list(self.levels), "factors": list(self.factors)}
