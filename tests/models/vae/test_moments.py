import numpy as np
import pytest

from perturbkit.models.vae.moments import mean_log1p


@pytest.mark.parametrize("theta", [0.5, 3.0, 1e8])
def test_against_draws(theta: float) -> None:
    rng = np.random.default_rng(0)
    share, library = np.geomspace(1e-5, 0.3, 12), np.array([400.0, 1500.0])
    drawn = np.zeros(12)
    for size in library:
        x = rng.poisson(rng.gamma(theta, size * share / theta, (200_000, 12)))
        drawn += np.log1p(1e4 * x / size).mean(0) / len(library)
    both = np.stack([share, share * 0.7])
    found = mean_log1p(both, np.full(12, theta), library)
    np.testing.assert_allclose(found[0], drawn, rtol=0.02, atol=0.01)


def test_interpolates_between_rates_and_increases() -> None:
    share = np.geomspace(1e-4, 1e-2, 200)[:, None]
    found = mean_log1p(share, np.array([2.0]), np.array([1000.0]))[:, 0]
    assert (np.diff(found) > 0).all()
    exact = mean_log1p(share[[77]], np.array([2.0]), np.array([1000.0]))[0, 0]
    assert found[77] == pytest.approx(exact, abs=0.01)
