"""Slopes by readout: trusted where predictions hold, drawn to the mean where they do not."""

import numpy as np
from sklearn.linear_model import LinearRegression

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.slopes import Slopes, shrunken_slopes


def test_without_shrinkage_they_are_least_squares_and_leave_one_out(rng) -> None:
    x, y = rng.normal(size=(2, 15, 4))
    slope, without = shrunken_slopes(x, y, 0.0)
    for g in range(4):
        exact = LinearRegression(fit_intercept=False).fit(x[:, g : g + 1], y[:, g])
        np.testing.assert_allclose(slope[g], exact.coef_[0])
        rest = LinearRegression(fit_intercept=False).fit(x[1:, g : g + 1], y[1:, g])
        np.testing.assert_allclose(without[0, g], rest.coef_[0])


def train_of(values: np.ndarray) -> Responses:
    conditions = [Condition(), *(Condition((f"T{i}",)) for i in range(len(values) - 1))]
    names = Vocabulary([f"R{i}" for i in range(values.shape[1])], "readout")
    return Responses(values[None], condition_table(conditions), names, "log2fc")


def test_readouts_that_do_not_carry_over_are_drawn_to_the_mean(rng) -> None:
    said = rng.normal(size=(60, 20))
    holds = np.arange(20) < 10
    values = np.where(holds, said, 0) + 0.3 * rng.normal(size=said.shape) + 5
    said, values = np.vstack([np.zeros(20), said]) + 5, np.vstack([np.zeros(20), values])
    train = train_of(values)
    slopes = Slopes.fit(train, said)
    assert slopes.slope_kg[0, holds].min() > 0.8
    assert slopes.slope_kg[0, ~holds].max() < 0.4
    fresh = slopes.apply(said, train.contexts, ~train.is_control)
    assert np.array_equal(fresh[0], said[0])
    better = np.square(fresh - values)[1:].mean() / np.square(said - values)[1:].mean()
    assert better < 0.5
    again = Slopes.restore(slopes.state())
    np.testing.assert_array_equal(again.apply(said, train.contexts, ~train.is_control), fresh)


def test_perfect_predictions_and_few_conditions_stay(rng) -> None:
    values = rng.normal(size=(40, 6)).astype(np.float32)
    np.testing.assert_allclose(Slopes.fit(train_of(values), values).slope_kg, 1, atol=1e-3)
    few = train_of(values[:8])
    assert (Slopes.fit(few, 2 * values[:8]).slope_kg == 1).all()
