"""no_change, context_mean, mean_delta, additive, matching_mean: formulas worked by hand."""

import numpy as np
import polars as pl
import pytest

from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models import MODELS

# two readouts; A and B in both contexts, C in x alone; controls at (1, 1) and (2, 2)
ROWS = [
    ("control", "x"), ("A", "x"), ("B", "x"), ("C", "x"),
    ("control", "y"), ("A", "y"), ("B", "y"),
]  # fmt: skip
VALUES = [[1, 1], [4, 1], [1, 4], [1, 1], [2, 2], [6, 2], [2, 6]]
MEAN_X, MEAN_Y = np.array([1, 1]), np.array([2, 2])


@pytest.fixture
def train() -> Responses:
    table = pl.DataFrame(ROWS, schema=["perturbation", "context"], orient="row")
    names = Vocabulary(["r0", "r1"], "readout")
    return Responses(np.array([VALUES], np.float32), table, names, "log1p_cp10k")


def predict(name: str, train: Responses, asked: list[str], context: str, **settings):
    card = MODELS[name]
    model = card.model.fit(card.config(**settings), train, None, np.random.default_rng(0))
    table = pl.DataFrame({"perturbation": asked, "context": [context] * len(asked)})
    predicted = model.predict(table)
    return predicted.mean_cg, predicted.conditions["status"].to_list()


def test_no_change_is_the_control(train: Responses) -> None:
    values, status = predict("no_change", train, ["A", "A+B", "Q"], "y")
    np.testing.assert_array_equal(values, [[2, 2]] * 3)
    assert status == ["seen", "seen", "prior"]


def test_context_mean_by_hand(train: Responses) -> None:
    values, status = predict("context_mean", train, ["A", "C", "Q"], "y")
    np.testing.assert_array_equal(values, [2 + MEAN_Y] * 3)
    assert status == ["seen", "seen", "prior"]


def test_mean_delta_by_hand(train: Responses) -> None:
    values, status = predict("mean_delta", train, ["C", "A", "A+C", "Q"], "y", shrinkages=(1.0,))
    deviation_c = (np.array([0, 0]) - MEAN_X) / 2  # one context, shrinkage 1
    deviation_a = (np.array([3, 0]) - MEAN_X + np.array([4, 0]) - MEAN_Y) / 3
    np.testing.assert_allclose(values[0], 2 + MEAN_Y + deviation_c)
    np.testing.assert_allclose(values[1], 2 + MEAN_Y + deviation_a)
    np.testing.assert_allclose(values[2], 2 + MEAN_Y + deviation_a + deviation_c, rtol=1e-6)
    np.testing.assert_allclose(values[3], 2 + MEAN_Y)
    assert status == ["seen", "seen", "seen", "prior"]


def test_mean_delta_chooses_no_shrinkage_for_repeated_truth_and_much_for_noise(rng) -> None:
    names = [f"p{i}" for i in range(40)]
    table = pl.DataFrame({"perturbation": names * 2, "context": ["x"] * 40 + ["y"] * 40})
    readouts = Vocabulary([f"r{i}" for i in range(30)], "readout")
    same = np.tile(rng.normal(size=(40, 30)), (2, 1))
    for values, low, high in ((same, 0, 0), (rng.normal(size=same.shape), 8, 32)):
        train = Responses(values[None].astype(np.float32), table, readouts, "zscore")
        card = MODELS["mean_delta"]
        model = card.model.fit(card.config(), train, None, rng)
        assert low <= model.shrinkage <= high


def test_additive_by_hand(train: Responses) -> None:
    values, status = predict("additive", train, ["A+B", "A+Q", "Q", "B"], "x")
    np.testing.assert_array_equal(values[0], [1 + 3, 1 + 3])
    np.testing.assert_array_equal(values[1], [1 + 3 + 1, 1 + 0 + 1])
    assert np.isnan(values[2]).all()
    np.testing.assert_array_equal(values[3], [1, 4])
    assert status == ["seen", "prior", "refused", "seen"]


def test_additive_carries_over_a_single_measured_elsewhere(train: Responses) -> None:
    values, _ = predict("additive", train, ["A+C"], "y", shrinkages=(1.0,))
    carried = MEAN_Y + (np.array([0, 0]) - MEAN_X) / 2
    np.testing.assert_allclose(values[0], 2 + np.array([4, 0]) + carried)


def test_matching_mean_by_hand(train: Responses) -> None:
    values, status = predict("matching_mean", train, ["A+B", "A+Q", "Q"], "x")
    np.testing.assert_array_equal(values[0], [1 + 1.5, 1 + 1.5])
    np.testing.assert_array_equal(values[1], 1 + (np.array([3, 0]) + MEAN_X) / 2)
    np.testing.assert_array_equal(values[2], 1 + MEAN_X)
    assert status == ["seen", "prior", "prior"]


def test_additive_beats_the_rest_on_planted_combinations(planted_law) -> None:
    held = [k for k in planted_law.truth.keys if "+" in k][:6]
    train, test = planted_law.split(held)
    errors = {}
    for name in ("additive", "matching_mean", "context_mean", "no_change", "mean_delta"):
        card = MODELS[name]
        model = card.model.fit(card.config(), train, None, np.random.default_rng(0))
        gap = model.predict(test.conditions).mean_cg - test.mean_cg
        errors[name] = float(np.sqrt((gap**2).mean()))
    assert errors["additive"] < 0.12  # noise 0.05 in the truth and in each of two singles: 0.087
    assert errors["additive"] < 0.4 * min(e for n, e in errors.items() if n != "additive")
