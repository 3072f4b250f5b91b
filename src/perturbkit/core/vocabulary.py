"""An ordered list of unique names: genes, readouts, contexts, perturbations."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from perturbkit.core.errors import SchemaError, unknown_name


class Vocabulary(Sequence[str]):
    """Unique names in a fixed order, looked up both ways.

    Args:
        names: the names, in order.
        kind: what they are, in the singular, for error messages.

    Raises:
        SchemaError: a name occurs twice or is empty.
    """

    def __init__(self, names: Iterable[str], kind: str = "name") -> None:
        self.names: tuple[str, ...] = tuple(str(n) for n in names)
        self.kind = kind
        if len(self.index_of) != len(self.names):
            seen: set[str] = set()
            twice = sorted({n for n in self.names if n in seen or seen.add(n)})
            message = (
                f"{len(twice)} {kind} name(s) occur more than once, for example "
                f"{', '.join(twice[:3])}; names must be unique: merge or rename them"
            )
            raise SchemaError(message)
        if "" in self.index_of:
            message = f"{kind} {self.index_of['']} has an empty name; give every {kind} a name"
            raise SchemaError(message)

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Position of each name."""
        return {name: i for i, name in enumerate(self.names)}

    def encode(self, names: Iterable[str]) -> np.ndarray:
        """Positions of `names` as int64.

        Raises:
            UnknownNameError: a name is not here.
        """
        return np.fromiter((self.position(n) for n in names), np.int64)

    def find(self, names: Iterable[str]) -> np.ndarray:
        """Positions of `names` as int64, -1 where a name is not here."""
        return np.fromiter((self.index_of.get(str(n), -1) for n in names), np.int64)

    def position(self, name: str) -> int:
        """Position of one name, or UnknownNameError with what may have been meant."""
        position = self.index_of.get(str(name))
        if position is None:
            raise unknown_name(self.kind, str(name), self.names)
        return position

    def __getitem__(self, i):  # noqa: ANN001, ANN204  (Sequence's overloads add nothing here)
        return self.names[i]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.index_of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        head = ", ".join(self.names[:3]) + (", ..." if len(self) > 3 else "")
        return f"Vocabulary({len(self)} {self.kind}s: {head})"
