"""Families: a member is one file that ends in its card; a catalogue collects the cards."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from perturbkit.core.errors import SchemaError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Card:
    """What every member of every family says of itself; families add what they need."""

    name: str
    """the catalogue name: lower case, words joined by underscores"""
    summary: str
    """one line for `perturbkit list`, the docs tables and the report's legend"""
    source: str
    """paper, equation or data set, with any deviation"""


C = TypeVar("C", bound=Card)


class Catalog(Mapping[str, C], Generic[C]):
    """The cards found in a family's namespace, by name, in order of appearance.

    Args:
        card: the family's card class.
        namespace: the `globals()` of the family's `__init__`, after its imports.
        singular: how errors call a member, by default the card class's name in lower case.

    Raises:
        SchemaError: two different cards have the same name.
    """

    def __init__(self, card: type[C], namespace: Mapping[str, Any], singular: str = "") -> None:
        self.singular = singular or card.__name__.removesuffix("Card").lower()
        self._cards: dict[str, C] = {}
        for member in list(namespace.values()):
            if isinstance(member, card):
                self._add(member)

    def _add(self, card: C) -> None:
        if self._cards.get(card.name, card) is not card:
            message = (
                f"two {self.singular} cards are named {card.name!r}; "
                "names in a family must differ: rename one of them"
            )
            raise SchemaError(message)
        self._cards[card.name] = card

    def __getitem__(self, name: str) -> C:
        if name not in self._cards:
            raise unknown_name(self.singular, name, self._cards)
        return self._cards[name]

    def __contains__(self, name: object) -> bool:
        return name in self._cards

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)
