import numpy as np

from perturbkit.data.log_ratios import log_ratio, stratum_level, without_common_shift


def test_a_shift_of_all_readouts_is_no_effect() -> None:
    rng = np.random.default_rng(3)
    change = 0.4 + 0.1 * rng.standard_normal((2, 501))
    change[0, :50] = 3.0
    left = without_common_shift(change, np.full(change.shape, 0.1))
    np.testing.assert_allclose((change - left)[:, 0], 0.4, atol=0.03)
    assert np.ptp(change - left, axis=1).max() < 1e-9


def test_fold_changes_are_finite_and_few_controls_say_little() -> None:
    change, variance = log_ratio(np.array([0.0, 200.0]), np.array([100.0, 100.0]))
    np.testing.assert_allclose(change, np.log([0.5 / 100.5, 200.5 / 100.5]))
    assert variance[0] > 10 * variance[1]
    level = stratum_level(np.array([4.0, 4000.0]), np.array([2.0, 2000.0]))
    np.testing.assert_allclose(level, [24 / 22, 4020 / 2020])
