"""What every screen in the catalogue promises; those with files need the real data."""

import numpy as np
import pytest

from perturbkit.core.errors import ConfigError, FileError
from perturbkit.core.units import UNITS
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import SCREENS, open_screen
from perturbkit.data.splits import SPLITS, SplitConfig, make_split

SMALL = {"simulated": {"n_genes": 100, "n_contexts": 2}}


# files without a checksum may not be here; tests/data/screens/test_published.py makes small ones
AT_HAND = [name for name, card in SCREENS.items() if card.sha256 or not card.file]


@pytest.fixture(params=AT_HAND)
def name(request, monkeypatch):
    if SCREENS[request.param].file:
        folder = request.getfixturevalue("real_data")
        monkeypatch.setenv("PERTURBKIT_DATA", str(folder))
    return request.param


@pytest.mark.parametrize("card", SCREENS.values(), ids=lambda c: c.name)
def test_the_card_says_where_the_data_come_from(card):
    assert card.unit in UNITS
    for text in (card.summary, card.source, card.organism, card.licence, card.url, card.holds):
        assert text
    assert len(card.sha256) in (0, 64)
    assert all(u.startswith("https://") for u in (card.url, card.download or card.url))


def test_it_opens_in_its_unit_and_becomes_responses(name):
    screen = open_screen(name, **SMALL.get(name, {}))
    assert screen.unit == SCREENS[name].unit
    responses = responses_of(screen)
    assert np.isfinite(responses.mean_cg).any(1).all()
    assert len(set(responses.keys)) == len(responses.keys)
    assert set(responses.readouts) == set(screen.readouts)
    assert (responses.halves is not None) == (screen.level == "cells")
    with pytest.raises(ConfigError):
        open_screen(name, no_such_option=1)


def test_at_least_one_split_fits_it(name):
    conditions = responses_of(open_screen(name, **SMALL.get(name, {}))).conditions
    split = make_split(
        conditions, SplitConfig(kind="unseen_perturbation"), np.random.default_rng(0)
    )
    counts = split.counts()
    assert min(counts["train"], counts["test"]) > 0


def test_a_card_with_a_file_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PERTURBKIT_DATA", str(tmp_path))
    for card in SCREENS.values():
        if card.file:
            with pytest.raises(FileError, match=card.name):
                open_screen(card.name)


@pytest.mark.parametrize("card", SPLITS.values(), ids=lambda c: c.name)
def test_every_split_says_what_it_promises(card):
    assert card.summary
    assert card.source
    assert card.uses <= set(SplitConfig.model_fields)
