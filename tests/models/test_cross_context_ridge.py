from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.kernel_ridge import KernelRidge

from perturbkit.models.cross_context_ridge import (
    CrossContextRidge,
    CrossContextRidgeConfig,
    gram_of_others,
    leading_part,
)
from perturbkit.models.deltas import Effects
from perturbkit.models.mean_delta import MeanDelta
from perturbkit.models.shrunken import ShrinkageConfig


def error(predicted, test) -> float:
    return float(np.sqrt(((predicted.mean_cg - test.mean_cg) ** 2).mean()))


@pytest.fixture
def held_out(planted_law):
    pairs = [
        f"{t} | {c}"
        for t, c in zip(planted_law.targets[:36:3], planted_law.contexts * 4, strict=True)
    ]
    return planted_law.split(pairs)


def test_plain_ridge_equals_sklearn(planted_law, rng) -> None:
    """All directions, one penalty, no share: a kernel ridge on centred features, by sklearn."""
    truth = planted_law.truth.select(["+" not in k for k in planted_law.truth.keys])
    held = [f"{t} | liver" for t in planted_law.targets[::5]]
    test = np.isin(truth.keys, held)
    config = CrossContextRidgeConfig(directions=None, ridges=(0.3,), share=0.0)
    predicted = CrossContextRidge.fit(config, truth.select(~test), None, rng).predict(
        truth.select(test).conditions
    )
    delta = truth.delta_cg().astype(np.float64)
    by_context = {}
    for context in planted_law.contexts:
        here = (truth.contexts == context) & ~truth.is_control
        by_context[context] = delta[here] - delta[here & ~test].mean(0)
    x = np.hstack([by_context["blood"], by_context["skin"]]) / np.sqrt(2)
    y, out = by_context["liver"], test[(truth.contexts == "liver") & ~truth.is_control]
    x -= x[~out].mean(0)
    alpha = 0.3 * (x[~out] ** 2).sum() / (~out).sum()
    oracle = KernelRidge(alpha=alpha, kernel="linear").fit(x[~out], y[~out]).predict(x[out])
    known = truth.delta_cg()[(truth.contexts == "liver") & ~truth.is_control & ~test].mean(0)
    control = truth.control_of(["liver"])
    np.testing.assert_allclose(predicted.mean_cg, control + known + oracle, atol=2e-4)


def test_recovers_the_planted_law_to_its_noise(held_out, rng) -> None:
    train, test = held_out
    ridge = CrossContextRidge.fit(CrossContextRidgeConfig(), train, None, rng)
    baseline = MeanDelta.fit(ShrinkageConfig(), train, None, rng)
    ours = error(ridge.predict(test.conditions), test)
    assert ours < 0.08  # the noise in the truth alone is 0.05
    assert ours < 0.3 * error(baseline.predict(test.conditions), test)


@pytest.mark.parametrize(
    "settings", [{"directions": 5}, {"components": 6}, {"directions": None}, {"share": 0.1}]
)
def test_every_setting_learns(held_out, rng, settings) -> None:
    train, test = held_out
    model = CrossContextRidge.fit(CrossContextRidgeConfig(**settings), train, None, rng)
    baseline = MeanDelta.fit(ShrinkageConfig(), train, None, rng)
    predicted = model.predict(test.conditions)
    assert error(predicted, test) < 0.8 * error(baseline.predict(test.conditions), test)


def test_kernel_leaves_the_context_out_and_averages_over_the_others(planted_law) -> None:
    effects = Effects.of(planted_law.truth)
    deviation = effects.deviation_rg.astype(np.float64)
    kernel, n_p = gram_of_others(deviation @ deviation.T, effects, context=1)
    codes = effects.frame.perturbations.find(["G02", "G07", "G00+G39"])
    rows = effects.row_kp[:, codes]
    expected = (
        deviation[rows[0, 0]] @ deviation[rows[0, 1]]
        + deviation[rows[2, 0]] @ deviation[rows[2, 1]]
    ) / 2
    assert kernel[codes[0], codes[1]] == pytest.approx(expected)
    one = deviation[rows[0, 0]] @ deviation[rows[0, 2]] / np.sqrt(2)
    assert kernel[codes[0], codes[2]] == pytest.approx(one)
    np.testing.assert_array_equal(n_p[codes], [2, 2, 1])


def test_leading_part_is_the_best_low_rank_kernel(rng) -> None:
    x = rng.normal(size=(12, 8)) * [9, 5, 3, 1, 1, 1, 1, 1]
    _, _, right = np.linalg.svd(x, full_matrices=False)
    expected = (x @ right[:3].T) @ (x @ right[:3].T).T
    np.testing.assert_allclose(leading_part(x @ x.T, np.arange(12), 3), expected, atol=1e-8)


def test_perturbation_of_one_context_keeps_its_own_shrunken_deviation(planted_law, rng) -> None:
    truth = planted_law.truth
    lonely = np.array([k.startswith("G05 |") and "liver" not in k for k in truth.keys])
    model = CrossContextRidge.fit(CrossContextRidgeConfig(), truth.select(~lonely), None, rng)
    at = truth.at(["G05 | liver"])
    predicted = model.predict(at.conditions)
    mean = model.frame.mean_of(model.frame.contexts.encode(["liver"]))[0]
    own = at.mean_cg[0] - truth.control_of(["liver"])[0] - mean
    carried = predicted.mean_cg[0] - truth.control_of(["liver"])[0] - mean
    assert 0.8 < float(carried @ own / np.linalg.norm(carried) / np.linalg.norm(own)) <= 1
    assert np.linalg.norm(carried) <= np.linalg.norm(own)


def test_shuffled_perturbations_teach_nothing(planted_law, held_out, rng) -> None:
    """With labels shuffled in every context the ridge is no better than the context mean."""
    train, test = held_out
    names = train.conditions["perturbation"].to_numpy().copy()
    for context in planted_law.contexts:
        here = np.flatnonzero((train.contexts == context) & ~train.is_control)
        names[here] = rng.permutation(names[here])
    table = train.conditions.with_columns(perturbation=pl.Series(names))
    ridge = CrossContextRidge.fit(
        CrossContextRidgeConfig(), replace(train, conditions=table), None, rng
    ).predict(test.conditions)
    mean = ridge.mean_cg * 0 + [
        train.control_of([c])[0]
        + train.delta_cg()[(train.contexts == c) & ~train.is_control].mean(0)
        for c in test.contexts
    ]
    ours = float(np.sqrt(((ridge.mean_cg - test.mean_cg) ** 2).mean()))
    assert ours > 0.9 * float(np.sqrt(((mean - test.mean_cg) ** 2).mean()))


@pytest.mark.data
def test_real_drug_screen_above_the_bar(real_data, rng) -> None:
    """OP3, 34 compounds held out in one cell type; docs/benchmarks/op3.md has it all."""
    from perturbkit.data.profiles import responses_of
    from perturbkit.data.screens import open_screen
    from perturbkit.metrics.pearson import pearson_rows

    path = real_data / "op3" / "op3_signed_ranks_B_NK_T.npz"
    if not path.exists():
        pytest.skip("OP3 is not among the real data here")
    truth = responses_of(open_screen(path))
    test = np.isin(np.arange(405), np.random.default_rng(0).permutation(135)[:34])
    scores = {}
    for model, config in (
        (CrossContextRidge, CrossContextRidgeConfig),
        (MeanDelta, ShrinkageConfig),
    ):
        fitted = model.fit(config(), truth.select(~test), None, rng)
        predicted = fitted.predict(truth.select(test).conditions)
        scores[model] = pearson_rows(truth.mean_cg[test], predicted.mean_cg).mean()
    assert scores[CrossContextRidge] > scores[MeanDelta] + 0.04
