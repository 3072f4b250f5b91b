"""Additions are kept only where conditions that nothing was fitted on clearly gain."""

import numpy as np

from perturbkit.models.trust import helps, mean_square, share_to_add


def test_an_addition_that_is_right_is_kept_whole_and_one_too_strong_is_shrunk(rng) -> None:
    truth = rng.normal(size=(20, 200))
    missed = truth + 0.5 * rng.normal(size=truth.shape)
    assert share_to_add(missed, truth) > 0.95
    assert share_to_add(missed, 0.5 * truth) == 1.0  # never beyond what was learned
    np.testing.assert_allclose(share_to_add(missed, 2 * truth), 0.5, atol=0.03)


def test_noise_and_the_opposite_add_nothing(rng) -> None:
    missed = rng.normal(size=(20, 200))
    assert share_to_add(missed, -missed) == 0.0
    assert share_to_add(missed, np.zeros_like(missed)) == 0.0
    shares = [share_to_add(missed, rng.normal(size=missed.shape)) for _ in range(50)]
    assert np.mean(np.array(shares) > 0) <= 0.1


def test_an_addition_that_helps_one_condition_alone_is_not_clear(rng) -> None:
    missed = 0.1 * rng.normal(size=(12, 50))
    missed[0] += 5
    added = np.zeros_like(missed)
    added[0] = 5
    assert share_to_add(missed, added) == 0.0
    assert share_to_add(missed[:2], missed[:2]) == 0.0  # too few to say


def test_gaps_count_for_nothing(rng) -> None:
    missed = rng.normal(size=(10, 40))
    holes = missed.copy()
    holes[:, 30:] = np.nan
    holes[3] = np.nan
    added = missed.copy()
    added[:, 30:] = 100
    np.testing.assert_allclose(share_to_add(holes, added), 1.0)
    assert np.isnan(mean_square(holes)[3])
    np.testing.assert_allclose(mean_square(holes)[0], np.square(missed[0, :30]).mean())


def test_errors_that_fall_alike_help_and_others_do_not() -> None:
    before = np.linspace(1, 2, 10)
    assert helps(before, before - 0.1)
    assert not helps(before, before)
    assert not helps(before, before + 0.1)
    assert not helps(before[:2], before[:2] - 0.1)
    assert helps(np.r_[before, np.nan], np.r_[before - 0.1, 0])
