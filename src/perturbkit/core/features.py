"""Features: a vector for each named gene or compound; what is missing is masked, not invented."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors by name, from a network, a language model, fingerprints or the screen itself."""

    names: Vocabulary
    """what the rows stand for"""
    values: np.ndarray
    """float32 [names, width], finite"""
    name: str = ""
    """the catalogue name of the source, for reports"""
    missing: tuple[str, ...] = field(default=())
    """names that were asked for and have no vector"""

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float32)
        object.__setattr__(self, "values", values)
        if values.ndim != 2 or len(values) != len(self.names):
            message = f"features have the shape {values.shape} for {len(self.names)} names"
            raise SchemaError(message)
        if not np.isfinite(values).all():
            message = "features hold NaN or infinite values; leave those names out instead"
            raise SchemaError(message)

    @property
    def width(self) -> int:
        """Length of each vector."""
        return self.values.shape[1]

    def within(self, names: Iterable[str]) -> Self:
        """Return the features of those of `names` that have any; the rest go to `missing`."""
        asked = list(dict.fromkeys(names))
        place = self.names.find(asked)
        here = [n for n, i in zip(asked, place, strict=True) if i >= 0]
        gone = tuple(n for n, i in zip(asked, place, strict=True) if i < 0)
        kept = Vocabulary(here, self.names.kind)
        return replace(self, names=kept, values=self.values[place[place >= 0]], missing=gone)

    def coverage(self) -> str:
        """Say in plain words how many of the names asked for have features."""
        total = len(self.names) + len(self.missing)
        text = f"{self.name or 'features'}: {len(self.names):,} of {total:,} names have features"
        if self.missing:
            text += f"; without: {', '.join(self.missing[:5])}"
            text += f" and {len(self.missing) - 5:,} more" if len(self.missing) > 5 else ""
        return text
