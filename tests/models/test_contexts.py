"""Contexts by their control profile: a new one is answered from those it resembles."""

import json

import numpy as np
import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.contexts import resemblance
from perturbkit.models.lpm import Lpm, LpmConfig

N = 40
READOUTS = Vocabulary([f"R{i}" for i in range(N)], "readout")
BY_CONTROL = LpmConfig(context_from="control", base="context_mean", hidden_dim=8)


def screen(rng: np.random.Generator, unit: str = "log1p_cp10k") -> Responses:
    """Contexts a1, a2 answer alike, b the other way; their controls say which is which."""
    conditions, values = [], []
    change = rng.normal(size=(12, N))
    kinds = {"a": 3 + rng.random(N), "b": 3 + rng.random(N)}
    for context in ("a1", "a2", "b1", "b2"):
        control = kinds[context[0]] + 0.02 * rng.normal(size=N)
        sign = 1 if context[0] == "a" else -1
        conditions.append(Condition((), context))
        values.append(control)
        for i in range(12):
            conditions.append(Condition((f"T{i:02d}",), context))
            values.append(control + 0.3 * sign * (1 + change[i] * 0))
    return Responses(np.array(values)[None], condition_table(conditions), READOUTS, unit)


def test_resemblance_is_near_one_for_the_same_profile_and_ignores_gaps(rng) -> None:
    known = rng.normal(size=(3, N))
    asked = np.vstack([known[1], known[1]])
    asked[1, :20] = np.nan
    weight = resemblance(asked, known)
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-6)
    assert weight[:, 1].min() > 0.7
    with pytest.raises(SchemaError, match="shares no measured readout"):
        resemblance(np.full((1, N), np.nan), known)


def test_an_unseen_context_is_a_prior_from_its_control(rng: np.random.Generator) -> None:
    truth = screen(rng)
    gone = truth.contexts == "a2"
    model = Lpm.build(BY_CONTROL, truth.select(~gone), None, rng)
    asked = truth.select(gone)
    refused = model.predict(asked.conditions)
    assert set(refused.conditions["status"]) == {"refused"}
    knowing = model.with_controls(asked.select(asked.is_control))
    said = knowing.predict(asked.conditions)
    assert said.conditions["status"].to_list() == ["seen"] + ["prior"] * 12
    np.testing.assert_allclose(said.mean_cg[0], asked.mean_cg[0], rtol=1e-6)
    change = said.mean_cg[1:] - said.mean_cg[0]
    assert change.mean() > 0.15  # as a1 does; the mean over all trained contexts is -0.1
    assert set(model.predict(asked.conditions).conditions["status"]) == {"refused"}


def test_a_context_with_its_control_alone_in_the_training_set_is_a_prior(rng) -> None:
    truth = screen(rng)
    gone = (truth.contexts == "a2") & ~truth.is_control
    model = Lpm.build(BY_CONTROL, truth.select(~gone), None, rng)
    said = model.predict(truth.select(gone).conditions)
    assert set(said.conditions["status"]) == {"prior"}
    assert np.isfinite(said.mean_cg).all()


def test_the_network_learns_from_mixed_contexts_and_restores_to_the_bit(rng) -> None:
    truth = screen(rng)
    model = Lpm.build(BY_CONTROL, truth, None, rng)
    mix = model.encode(truth.conditions)["context"]
    assert mix.shape == (len(truth.keys), 4)
    np.testing.assert_allclose(mix.sum(1).numpy(), 1, rtol=1e-5)
    arrays, about = model.state()
    again = Lpm.restore(BY_CONTROL, (arrays, json.loads(json.dumps(about))))
    new = Responses(truth.values[:, :1], condition_table([Condition((), "c")]), READOUTS,
                    "log1p_cp10k")  # fmt: skip
    asked = condition_table([Condition(("T03",), "c"), Condition(("T03",), "b1")])
    said, repeated = (m.with_controls(new).predict(asked) for m in (model, again))
    np.testing.assert_array_equal(said.values, repeated.values)


def test_units_and_models_without_controls_say_so(rng: np.random.Generator) -> None:
    with pytest.raises(SchemaError, match="every control is zero"):
        Lpm.build(BY_CONTROL, screen(rng, "log2fc"), None, rng)
    truth = screen(rng)
    by_symbol = Lpm.build(LpmConfig(base="context_mean"), truth, None, rng)
    with pytest.raises(SchemaError, match="by symbol alone"):
        by_symbol.with_controls(truth)
