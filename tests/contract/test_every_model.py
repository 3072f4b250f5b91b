"""What every model of profiles promises, checked on a planted screen for each card."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from perturbkit.core.condition import conditions_of
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models import MODELS
from perturbkit.models.card import FittedModel, ModelCard

OF_PROFILES = {name: card for name, card in MODELS.items() if card.level == "profiles"}
CARDS = [pytest.param(card, id=name) for name, card in OF_PROFILES.items()]
HELD_OUT = ["G03 | liver", "G17 | liver", "G31 | skin", "G00+G39 | blood", "G01+G38 | blood"]


def config_of(card: ModelCard) -> object:
    """Default settings, but small where there is a network."""
    small = {"hidden_dim": 16, "embedding_dim": 8, "n_layers": 1, "width": 16}
    known = {k: v for k, v in small.items() if k in card.config.model_fields}
    return card.config.parse(known)


def fitted(card: ModelCard, train: Responses, features=None, seed: int = 0) -> FittedModel:
    make = card.model.build if card.trained else card.model.fit
    model = make(config_of(card), train, features, np.random.default_rng(seed))
    if card.trained:
        model.eval()
    return model


@pytest.fixture(scope="module")
def cases(planted_law):
    """Each model fitted once, with features, on the planted screen without HELD_OUT."""
    train, test = planted_law.split(HELD_OUT)
    models = {n: fitted(card, train, planted_law.features) for n, card in OF_PROFILES.items()}
    return train, test, models


def asked(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["perturbation", "context"], orient="row")


def status_of(predicted: Responses) -> list[str]:
    return predicted.conditions["status"].to_list()


def same(left: Responses, right: Responses) -> None:
    assert left.keys == right.keys
    assert left.readouts == right.readouts
    assert status_of(left) == status_of(right)
    np.testing.assert_array_equal(left.values, right.values)


@pytest.mark.parametrize("card", CARDS)
def test_held_out_pairs_and_combinations_are_answered_in_the_unit(card, cases) -> None:
    train, test, models = cases
    predicted = models[card.name].predict(test.conditions)
    assert predicted.keys == test.keys
    assert predicted.unit == train.unit
    answered = np.array(status_of(predicted)) != "refused"
    assert answered[["+" not in k for k in test.keys]].all()
    assert np.isfinite(predicted.mean_cg[answered]).all()
    assert np.isnan(predicted.mean_cg[~answered]).all()


@pytest.mark.parametrize("card", CARDS)
def test_order_of_rows_and_size_of_batch_are_irrelevant(card, cases) -> None:
    _, test, models = cases
    model = models[card.name]
    whole = model.predict(test.conditions)
    backwards = model.predict(test.conditions.reverse())
    np.testing.assert_allclose(backwards.mean_cg[::-1], whole.mean_cg, rtol=1e-4, atol=1e-5)
    assert status_of(backwards)[::-1] == status_of(whole)
    one = model.predict(test.conditions[2:3])
    np.testing.assert_allclose(one.mean_cg, whole.mean_cg[2:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("card", CARDS)
def test_controls_are_predicted_as_the_control(card, cases) -> None:
    train, _, models = cases
    controls = train.select(train.is_control)
    predicted = models[card.name].predict(controls.conditions)
    if card.trained:  # an untrained network without a base need not know its controls
        assert np.isfinite(predicted.mean_cg).all()
    else:
        np.testing.assert_array_equal(predicted.mean_cg, controls.mean_cg)
    assert status_of(predicted) == ["seen"] * 3


@pytest.mark.parametrize("card", CARDS)
def test_unknown_perturbation_is_never_passed_off_as_known(card, cases) -> None:
    _, _, models = cases
    predicted = models[card.name].predict(asked(("NOSUCH", "liver"), ("G01+NOSUCH", "liver")))
    for values, status in zip(predicted.mean_cg, status_of(predicted), strict=True):
        assert status in ("prior", "neighbour", "refused")
        assert np.isnan(values).all() if status == "refused" else np.isfinite(values).all()


@pytest.mark.parametrize("card", CARDS)
def test_unseen_target_with_features(card, planted_law) -> None:
    train, test = planted_law.split([f"G20 | {c}" for c in planted_law.contexts])
    predicted = fitted(card, train, planted_law.features).predict(test.conditions)
    if "perturbations" in card.predicts:
        assert set(status_of(predicted)) <= {"prior", "neighbour"}
        assert np.isfinite(predicted.mean_cg).all()
    else:
        assert set(status_of(predicted)) <= {"prior", "refused"}


@pytest.mark.parametrize("card", CARDS)
def test_unknown_context_is_refused(card, cases) -> None:
    _, _, models = cases
    predicted = models[card.name].predict(asked(("G05", "brain"), ("control", "brain")))
    assert status_of(predicted) == ["refused", "refused"]
    assert np.isnan(predicted.mean_cg).all()


@pytest.mark.parametrize("card", CARDS)
def test_context_known_by_its_control_alone(card, planted_law) -> None:
    truth = planted_law.truth
    gone = (truth.contexts == "skin") & ~truth.is_control
    predicted = fitted(card, truth.select(~gone)).predict(truth.select(gone).conditions)
    assert not set(status_of(predicted)) & {"seen", "measured"} or card.trained
    if "contexts" in card.predicts and "features" not in card.needs:
        assert np.isfinite(predicted.mean_cg).all()


@pytest.mark.parametrize("card", CARDS)
def test_relative_units_need_no_control(card, planted_relative) -> None:
    truth = planted_relative.truth
    train = truth.select(~truth.is_control)
    predicted = fitted(card, train, planted_relative.features).predict(truth.conditions[:5])
    assert np.isfinite(predicted.mean_cg).all()


@pytest.mark.parametrize("card", CARDS)
def test_state_restores_the_model_to_the_bit(card, cases, tmp_path) -> None:
    from safetensors.numpy import load_file, save_file

    _, test, models = cases
    arrays, values = models[card.name].state()
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, tmp_path / "m.safetensors")
    state = load_file(tmp_path / "m.safetensors"), json.loads(json.dumps(values))
    restored = card.model.restore(config_of(card), state)
    table = pl.concat([test.conditions, test.conditions.with_columns(context=pl.lit("skin"))])
    table = table.unique(["perturbation", "context"], maintain_order=True)
    same(restored.predict(table), models[card.name].predict(table))


@pytest.mark.parametrize("card", CARDS)
def test_same_rng_same_bits(card, cases, planted_law) -> None:
    train, test, models = cases
    again = fitted(card, train, planted_law.features)
    same(again.predict(test.conditions), models[card.name].predict(test.conditions))


@pytest.mark.parametrize("card", CARDS)
def test_training_order_and_readout_order_are_irrelevant(card, cases, planted_law) -> None:
    if card.trained:
        pytest.skip("draws of an untrained network go by position")
    train, test, models = cases
    rng = np.random.default_rng(5)
    names = [train.readouts[int(i)] for i in rng.permutation(len(train.readouts))]
    mixed = train.select(rng.permutation(train.conditions.height))
    mixed = mixed.with_readouts(Vocabulary(names, "readout"))
    predicted = fitted(card, mixed, planted_law.features).predict(test.conditions)
    expected = models[card.name].predict(test.conditions)
    assert list(predicted.readouts) == names
    realigned = predicted.with_readouts(train.readouts)
    np.testing.assert_allclose(realigned.mean_cg, expected.mean_cg, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("card", CARDS)
def test_missing_values_are_tolerated(card, planted_law) -> None:
    train, test = planted_law.split(HELD_OUT)
    values = train.values.copy()
    values[:, np.random.default_rng(6).random(values.shape[1:]) < 0.2] = np.nan
    values[:, train.is_control] = train.values[:, train.is_control]
    holey = replace(train, values=values)
    predicted = fitted(card, holey, planted_law.features).predict(test.conditions)
    answered = np.array(status_of(predicted)) != "refused"
    assert np.isfinite(predicted.mean_cg[answered]).all()


@pytest.mark.parametrize("card", CARDS)
def test_readout_measured_in_one_context_alone(card, planted_law) -> None:
    """A ragged screen: no model invents a value where the control was not measured either."""
    train, test = planted_law.split(HELD_OUT)
    values = train.values.copy()
    values[:, train.contexts == "liver", -1] = np.nan
    model = fitted(card, replace(train, values=values), planted_law.features)
    singles = test.select(["+" not in k for k in test.keys])
    predicted = model.predict(singles.conditions)
    liver = singles.contexts == "liver"
    assert np.isfinite(predicted.mean_cg[:, :-1]).all()
    assert np.isfinite(predicted.mean_cg[~liver]).all()
    if not card.trained:
        assert np.isnan(predicted.mean_cg[liver, -1]).all()


@pytest.mark.parametrize("card", CARDS)
def test_doses_are_accepted(card, cases, planted_law) -> None:
    train, _, _ = cases
    dosed = train.conditions.with_columns(
        dose_um=pl.when(pl.col("perturbation") == "control").then(None).otherwise(10.0)
    )
    model = fitted(card, replace(train, conditions=dosed), planted_law.features)
    table = asked(("G05@10uM", "blood"), ("G05@1uM", "blood"))
    predicted = model.predict(table)
    assert status_of(predicted) == ["seen", "seen"]
    assert np.isfinite(predicted.mean_cg).all()


@pytest.mark.parametrize("card", [c for c in CARDS if c.values[0].trained])
def test_trained_models_give_a_finite_loss(card, planted_law) -> None:
    import torch

    from perturbkit.models.block import Block

    card = card if isinstance(card, ModelCard) else card.values[0]
    model = card.model.build(
        config_of(card), planted_law.truth, planted_law.features, np.random.default_rng(0)
    )
    values = model.training_values(planted_law.truth, np.random.default_rng(1), held_out=False)
    columns = torch.arange(values.shape[1])
    rows = model.encode(planted_law.truth.conditions)
    loss = model.loss(Block(rows, columns, torch.from_numpy(values)))
    assert torch.isfinite(loss)
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(g).all() for g in grads)


def test_training_only_on_controls_is_refused_at_the_door(planted_law) -> None:
    from perturbkit.core.errors import SchemaError

    controls = planted_law.truth.select(planted_law.truth.is_control)
    for card in OF_PROFILES.values():
        with pytest.raises(SchemaError, match="control"):
            fitted(card, controls)


def test_targets_are_parsed_not_split_by_hand(planted_law) -> None:
    """Names with a plus inside brackets are one target for every model."""
    truth = planted_law.truth
    table = truth.conditions.with_columns(
        perturbation=pl.col("perturbation").str.replace("^G05$", "(+)-G05")
    )
    assert conditions_of(table)[6].targets == ("(+)-G05",)
    for card in OF_PROFILES.values():
        model = fitted(card, replace(truth, conditions=table))
        if "features" not in card.needs:
            predicted = model.predict(asked(("(+)-G05", "liver")))
            assert status_of(predicted) == ["seen"]
