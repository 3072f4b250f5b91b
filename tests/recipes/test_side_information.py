"""A study's `features` setting names where knowledge of unseen targets comes from."""

from pathlib import Path

import numpy as np
import pytest

import perturbkit as pk
from perturbkit.core.errors import ConfigError, UnknownNameError
from perturbkit.data.profiles import responses_of
from perturbkit.recipes.side_information import features_for

OPTIONS = {"n_genes": 60, "n_perturbations": 14, "n_contexts": 2, "n_cells": 6}


@pytest.fixture(scope="module")
def train() -> pk.Responses:
    return responses_of(pk.load("simulated", **OPTIONS), np.random.default_rng(0))


def test_auto_takes_the_loadings_of_the_genes_own_readouts(train, rng) -> None:
    features = features_for("auto", train, rng)
    assert features is not None
    assert list(features.names) == list(train.readouts)
    assert features_for("none", train, rng) is None


def test_a_table_of_vectors(train, rng, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("G0001\t1\t2\nG0002\t3\t4\n")
    features = features_for(f"table:{path}", train, rng)
    assert features is not None
    assert list(features.names) == ["G0001", "G0002"]


def test_a_network_of_the_shared_data(train, rng, real_data, monkeypatch) -> None:
    monkeypatch.setenv("PERTURBKIT_DATA", str(real_data))
    features = features_for("degree:trrust", train, rng)
    assert features is not None
    assert "STAT1" in features.names


def test_mistakes_say_what_to_write(train, rng) -> None:
    with pytest.raises(ConfigError, match="write for example spectral:string"):
        features_for("foo", train, rng)
    with pytest.raises(UnknownNameError, match="no network named 'strin'"):
        features_for("spectral:strin", train, rng)
