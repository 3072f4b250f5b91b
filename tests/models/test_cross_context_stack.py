import numpy as np
import pytest
from scipy.optimize import nnls

from perturbkit.models.closed_form import leading_sums
from perturbkit.models.cross_context_ridge import CrossContextRidge, CrossContextRidgeConfig
from perturbkit.models.cross_context_stack import (
    CrossContextStack,
    CrossContextStackConfig,
    agreement,
    members,
    ridge_scores,
    stack_weights,
    transfer,
)
from perturbkit.models.deltas import Effects

SMALL = CrossContextStackConfig(ridge_directions=(3, 8), directions=4, folds=3)


def rows_of(whole, gone: np.ndarray) -> np.ndarray:
    """What `without` leaves, as sums of the rows of the whole."""
    rows = np.eye(len(whole.gram_rr))[np.setdiff1d(np.arange(len(whole.gram_rr)), gone)]
    n = whole.n - len(gone)
    rows[:n] -= rows[:n].mean(0)
    return rows


def error(predicted, test) -> float:
    return float(np.sqrt(((predicted.mean_cg - test.mean_cg) ** 2).mean()))


@pytest.fixture
def task(planted_law):
    effects = Effects.of(planted_law.truth)
    x = effects.deviation_rg.astype(np.float64)
    return x, *transfer(effects, x @ x.T, context=1)


def test_left_out_rows_are_gone_and_the_mean_with_them(task) -> None:
    x, whole, _ = task
    gone = np.array([0, 7, 12])
    rest, cross = whole.without(gone)
    expected = rows_of(whole, gone) @ x[whole.rows]
    np.testing.assert_allclose(rest.gram_rr, expected @ expected.T, atol=1e-6)
    kept = np.setdiff1d(np.arange(whole.n), gone)
    missed = x[whole.rows][gone] - x[whole.rows][kept].mean(0)
    np.testing.assert_allclose(cross, expected @ missed.T, atol=1e-6)
    np.testing.assert_array_equal(rest.own, np.delete(whole.own, gone))


@pytest.mark.parametrize("n_rows", [40, 700])
def test_leading_sums_are_the_singular_vectors(n_rows: int, rng) -> None:
    x = rng.normal(size=(n_rows, 4)) @ rng.normal(size=(4, 30)) + 0.01 * rng.normal(
        size=(n_rows, 30)
    )
    found = leading_sums(x @ x.T, 4, rng) @ x
    expected = np.linalg.svd(x, full_matrices=False)[2][:4]
    np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1, atol=1e-6)


def test_each_width_has_its_own_penalty(rng) -> None:
    """A smooth first score wants a small penalty; noise in the second wants a large one."""
    x = rng.normal(size=(60, 5))
    scores = np.column_stack([x @ rng.normal(size=5), 30 * rng.normal(size=60)])
    own = np.arange(50)
    narrow, wide = ridge_scores(x @ x.T, own, scores[own], (1, 2), (0.001, 10.0, 1000.0))
    assert np.corrcoef(narrow[50:, 0], scores[50:, 0])[0, 1] > 0.99
    assert wide.shape == (60, 2)
    assert np.abs(wide[50:, 1]).mean() < 6


def test_agreement_predicts_inner_products_never_seen(task) -> None:
    """Hide half of the perturbations of a context: predicted and true products agree."""
    x, whole, _ = task
    gone = np.arange(0, whole.n, 2)
    rest, rows = whole.without(gone)[0], rows_of(whole, gone)
    predicted = agreement(rest)[whole.own[gone]]
    truth = x[whole.rows][gone] @ (rows @ x[whole.rows]).T
    assert np.corrcoef(predicted.ravel(), truth.ravel())[0, 1] > 0.8


def test_weights_are_non_negative_least_squares_on_what_was_held_out(task) -> None:
    x, whole, _ = task
    weights = stack_weights(SMALL, whole, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    predicted, missed = [], []
    for gone in np.array_split(rng.permutation(whole.n), SMALL.folds):
        rest, rows = whole.without(gone)[0], rows_of(whole, gone)
        direction, scores = members(SMALL, rest, rng)
        readouts = rows @ x[whole.rows]
        parts = [s[whole.own[gone]] @ direction @ readouts for s in scores]
        predicted.append(np.stack([*parts, rest.mean_pr[whole.own[gone]] @ readouts]))
        kept = np.setdiff1d(np.arange(whole.n), gone)
        missed.append(x[whole.rows][gone] - x[whole.rows][kept].mean(0))
    design = np.concatenate(predicted, 1).reshape(5, -1).T
    expected = nnls(design, np.concatenate(missed).ravel())[0]
    np.testing.assert_allclose(weights, expected, atol=1e-3)


def test_recovers_the_planted_law_as_well_as_the_ridge(planted_law, rng) -> None:
    pairs = [f"{t} | liver" for t in planted_law.targets[::4]]
    train, test = planted_law.split(pairs)
    stack = CrossContextStack.fit(CrossContextStackConfig(), train, None, rng)
    ridge = CrossContextRidge.fit(CrossContextRidgeConfig(), train, None, rng)
    ours = error(stack.predict(test.conditions), test)
    assert ours < 0.08  # the noise in the truth alone is 0.05
    assert ours < 1.1 * error(ridge.predict(test.conditions), test)
    assert (stack.weight_km[:3] >= 0).all()
    assert (stack.weight_km[:3, :-1].sum(1) > 0.5).all()


def test_too_few_to_stack_on_keeps_the_shrunken_mean(planted_law, rng) -> None:
    truth = planted_law.truth
    few = truth.is_control | np.isin(
        truth.conditions["perturbation"].to_list(), planted_law.targets[:6]
    )
    model = CrossContextStack.fit(CrossContextStackConfig(), truth.select(few), None, rng)
    assert not model.weight_km.any()
    predicted = model.predict(truth.select(few).conditions)
    assert np.isfinite(predicted.mean_cg).all()
