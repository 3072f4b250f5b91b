"""What every network promises, walked over the catalogue."""

import pytest

from perturbkit.core.config import Config
from perturbkit.core.errors import ConfigError
from perturbkit.graphs import GRAPHS
from perturbkit.graphs.card import GraphConfig, find_files

NAMES = list(GRAPHS)


@pytest.fixture(params=NAMES)
def card(request):
    return GRAPHS[request.param]


def test_card_says_what_it_is(card):
    assert card.summary
    assert len(card.summary) <= 100
    assert card.source
    assert card.licence
    assert card.species
    assert card.takes in ("files", "screen", "features")
    assert bool(card.files) == (card.takes == "files")


def test_settings_are_strict_documented_and_have_defaults(card):
    assert issubclass(card.config, GraphConfig)
    assert isinstance(card.config(), Config)
    with pytest.raises(ConfigError):
        card.config.parse({"no_such_setting": 1})
    with pytest.raises(ConfigError, match="mode is one of"):
        card.config.parse({"mode": "nonsense"})
    assert card.config.parse(card.config().plain()) == card.config()


def test_downloads_have_a_role_and_an_address(card):
    assert set(card.downloads) <= set(card.files)
    for download in card.downloads.values():
        assert all(url.startswith("https://") for url in download.urls)


def test_downloaded_names_are_found_by_the_reader(card, tmp_path):
    for download in card.downloads.values():
        (tmp_path / download.name).write_text("x")
    if card.downloads:
        assert set(find_files(card, tmp_path)) == set(card.downloads)
