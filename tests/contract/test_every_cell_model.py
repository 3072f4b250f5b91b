"""What every model of cells promises, checked on a small simulated screen for each card."""

import json

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen
from perturbkit.data.splits import SplitConfig, make_split
from perturbkit.data.store import store_of
from perturbkit.models import MODELS
from perturbkit.models.card import ModelCard
from perturbkit.recipes.side_information import fit_data
from perturbkit.train.config import TrainConfig
from perturbkit.train.profiles import FitData, MemberPlan, fit_member

OF_CELLS = {name: card for name, card in MODELS.items() if card.level == "cells"}
CARDS = [pytest.param(card, id=name) for name, card in OF_CELLS.items()]
SMALL = {
    "hidden_dim": 16, "embedding_dim": 8, "n_layers": 1, "width": 16, "n_latent": 8, "n_heads": 2,
    "d_model": 16, "d_hid": 16, "n_particles": 2, "n_controls": 30,
}  # fmt: skip


def config_of(card: ModelCard) -> object:
    return card.config.parse({k: v for k, v in SMALL.items() if k in card.config.model_fields})


@pytest.fixture(scope="module")
def case() -> tuple[FitData, Responses]:
    """A screen of 60 genes in two contexts, some pairs held out, and what to predict."""
    screen = open_screen("simulated", seed=1, preset="tiny")
    truth = responses_of(screen)
    split = make_split(truth.conditions, SplitConfig(kind="unseen_pair"), named_rng(1, "split"))
    data = fit_data(truth, split, "auto", named_rng(1, "features"), store_of(screen))
    return data, truth.select(split.rows(truth, "test"))


def fitted(card: ModelCard, data: FitData, seed: int = 0):
    train = TrainConfig.parse({**card.train, "n_epochs": 1, "batch_cells": 128})
    return fit_member(MemberPlan(card, config_of(card), train, seed, 0), data, None, None)


@pytest.fixture(scope="module")
def models(case):
    return {name: fitted(card, case[0]) for name, card in OF_CELLS.items()}


def asked(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["perturbation", "context"], orient="row")


@pytest.mark.parametrize("card", CARDS)
def test_held_out_pairs_are_answered_in_the_unit_of_profiles(card, case, models) -> None:
    test = case[1]
    predicted = models[card.name].predict(test.conditions)
    assert predicted.keys == test.keys
    assert predicted.readouts == test.readouts
    assert predicted.unit == "log1p_cp10k"
    refused = (predicted.conditions["status"] == "refused").to_numpy()
    assert not refused.all()
    assert np.isfinite(predicted.mean_cg[~refused]).all()
    assert np.isnan(predicted.mean_cg[refused]).all()


@pytest.mark.parametrize("card", CARDS)
def test_order_and_number_of_conditions_are_irrelevant(card, case, models) -> None:
    test, model = case[1], models[card.name]
    whole = model.predict(test.conditions)
    backwards = model.predict(test.conditions.reverse())
    np.testing.assert_allclose(backwards.mean_cg[::-1], whole.mean_cg, rtol=1e-3, atol=1e-4)
    one = model.predict(test.conditions[1:2])
    np.testing.assert_allclose(one.mean_cg, whole.mean_cg[1:2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("card", CARDS)
def test_unknown_perturbations_and_contexts_are_never_passed_off_as_known(card, models) -> None:
    model = models[card.name]
    context = model.predict_cells(asked(("control", "nowhere")), 3, np.random.default_rng(0))
    assert context.x == [None]
    known = MODELS[card.name]
    predicted = model.predict(asked(("NOSUCH", "nowhere"), ("control", "nowhere")))
    assert set(predicted.conditions["status"]) == {"refused"}
    assert np.isnan(predicted.mean_cg).all(), known.name


@pytest.mark.parametrize("card", CARDS)
def test_cells_are_drawn_as_many_as_asked_and_alike_for_the_same_rng(card, case, models) -> None:
    test, model = case[1], models[card.name]
    drawn = model.predict_cells(test.conditions, 7, np.random.default_rng(3))
    again = model.predict_cells(test.conditions, 7, np.random.default_rng(3))
    other = model.predict_cells(test.conditions, 7, np.random.default_rng(4))
    answered = [i for i, x in enumerate(drawn.x) if x is not None]
    assert answered
    for i in answered:
        assert drawn.x[i].shape == (7, len(test.readouts))
        assert drawn.x[i].dtype == np.float32
        assert np.isfinite(drawn.x[i]).all()
        assert drawn.x[i].min() >= 0
        np.testing.assert_array_equal(drawn.x[i], again.x[i])
        assert not np.array_equal(drawn.x[i], other.x[i])
    adata = drawn.adata()
    assert adata.n_obs == 7 * len(answered)
    assert adata.uns["perturbkit"]["unit"] == drawn.unit


@pytest.mark.parametrize("card", CARDS)
def test_state_restores_the_model_to_the_bit(card, case, models, tmp_path) -> None:
    from safetensors.numpy import load_file, save_file

    test, model = case[1], models[card.name]
    arrays, values = model.state()
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, tmp_path / "m.safetensors")
    state = load_file(tmp_path / "m.safetensors"), json.loads(json.dumps(values))
    restored = card.model.restore(config_of(card), state)
    np.testing.assert_array_equal(
        restored.predict(test.conditions).values, model.predict(test.conditions).values
    )
    left = restored.predict_cells(test.conditions[:1], 5, np.random.default_rng(1)).x[0]
    right = model.predict_cells(test.conditions[:1], 5, np.random.default_rng(1)).x[0]
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("card", CARDS)
def test_same_seed_same_bits(card, case, models) -> None:
    data, test = case
    again = fitted(card, data).predict(test.conditions)
    np.testing.assert_array_equal(again.values, models[card.name].predict(test.conditions).values)


@pytest.mark.parametrize("card", CARDS)
def test_profiles_alone_are_refused_at_the_door(card, case) -> None:
    data = case[0]
    with pytest.raises(SchemaError, match="single cells"):
        fitted(card, FitData(data.train, data.val, data.features))
