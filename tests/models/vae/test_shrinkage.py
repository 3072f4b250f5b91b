import numpy as np

from perturbkit.models.vae.shrinkage import shrink, shrink_together


def test_nearly_optimal_on_sparse_effects_and_nothing_from_noise() -> None:
    """Within 10 % of the error of the Bayes rule that knows the prior."""
    rng = np.random.default_rng(0)
    c, g, se = 20, 2000, 0.3
    present = rng.random((c, g)) < 0.05
    present[:10] = False  # half of the conditions do nothing
    truth = np.where(present, rng.normal(0, 1.5, (c, g)), 0.0)
    y = truth + se * rng.standard_normal((c, g))
    found = shrink(y, np.full((c, g), se))
    wide = se**2 + 1.5**2
    odds = 0.05 / 0.95 * se / np.sqrt(wide) * np.exp(0.5 * y**2 * (1 / se**2 - 1 / wide))
    best = np.where(np.arange(c)[:, None] < 10, 0.0, odds / (1 + odds) * 1.5**2 / wide * y)
    error, least = ((found - truth) ** 2).mean(), ((best - truth) ** 2).mean()
    assert error < 1.1 * least
    assert error < 0.2 * ((y - truth) ** 2).mean()
    assert np.abs(found[:10]).mean() < 0.02 * np.abs(y[:10]).mean()


def test_dense_effects_are_kept_and_what_is_not_observed_is_zero() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(0, 3, (4, 500))
    y[1, :7] = np.nan
    found = shrink(y, np.full(y.shape, 0.1))
    known = ~np.isnan(y)
    np.testing.assert_allclose(found[known], y[known], atol=0.05)
    assert (found[~known] == 0).all()


def test_a_larger_error_is_believed_less() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(0, 1, (1, 400))
    se = np.tile([0.2, 2.0], 200)[None]
    y[0, :2] = 1.0
    found = shrink(y, se)[0]
    assert found[0] > 2 * found[1] > 0


def test_what_conditions_share_is_kept_and_noise_is_not() -> None:
    """Two programmes in 30 conditions: nearer to the truth than any factor of all deviations."""
    rng = np.random.default_rng(0)
    n_c, n_0, spread = rng.integers(20, 200, 30), 300.0, rng.uniform(0.5, 2.0, 400)
    true = 0.3 * rng.normal(size=(30, 2)) @ rng.normal(size=(2, 400))
    noise = rng.normal(size=true.shape) * np.sqrt(spread / n_c[:, None])
    control = rng.normal(size=400) * np.sqrt(spread / n_0)
    seen = true + noise - control
    found = shrink_together(seen, spread, n_c, n_0)
    factor = (seen * true).sum() / (seen**2).sum()
    assert ((found - true) ** 2).sum() < 0.5 * ((factor * seen - true) ** 2).sum()
    nothing = shrink_together(noise - control, spread, n_c, n_0)
    assert (nothing**2).sum() < 0.1 * ((noise - control) ** 2).sum()
