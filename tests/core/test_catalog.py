"""Catalogues collect cards, refuse two of a name and say what may have been meant."""

import pytest

from perturbkit.core.catalog import Card, Catalog
from perturbkit.core.errors import SchemaError, UnknownNameError


class ToyCard(Card):
    pass


def toy(name: str) -> ToyCard:
    return ToyCard(name=name, summary="s", source="t")


def test_cards_are_found_by_name_in_order() -> None:
    catalog = Catalog(ToyCard, {"x": toy("mae"), "y": toy("mse"), "z": 3})
    assert list(catalog) == ["mae", "mse"]
    assert catalog["mse"].name == "mse"
    assert "mea" not in catalog


def test_a_miss_says_what_may_have_been_meant() -> None:
    catalog = Catalog(ToyCard, {"x": toy("mae")})
    with pytest.raises(UnknownNameError, match=r"no toy named 'mea'; did you mean 'mae'\?"):
        catalog["mea"]


def test_two_cards_of_one_name_are_refused() -> None:
    with pytest.raises(SchemaError, match="two toy cards are named 'mae'"):
        Catalog(ToyCard, {"x": toy("mae"), "y": ToyCard(name="mae", summary="other", source="")})


def test_one_card_under_two_python_names_is_one_member() -> None:
    card = toy("mae")
    assert len(Catalog(ToyCard, {"x": card, "y": card})) == 1
