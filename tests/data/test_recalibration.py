import numpy as np
import pytest

from perturbkit.data.recalibration import Recalibration


def test_order_and_ends_stay() -> None:
    p = np.array([[0.0, 0.01, 0.5], [0.97, 0.999, 1.0]])
    found = Recalibration(0.33, 0.99, 0.56).of(p)
    assert (np.diff(found.ravel()) > 0).all()
    assert found[0, 0] == 0
    assert found[1, 0] < 0.97
    assert found[1, 2] > 0.999
    np.testing.assert_allclose(Recalibration(0.0, 1.0, 1.0).of(p), p, atol=1e-9)


def test_what_is_too_sure_is_learned_back() -> None:
    """Probabilities whose odds are too long by a known law: each bin's share is right after."""
    rng = np.random.default_rng(0)
    right = rng.beta(0.5, 2.0, 200_000)
    truth = rng.random(right.size) < right
    law = Recalibration(0.6, 1.6, 1.3)
    told = law.of(right)
    learned = Recalibration.learned(told, truth)
    found = learned.of(told)
    for low in np.arange(0.1, 1.0, 0.1):
        inside = (found > low) & (found <= low + 0.1)
        assert found[inside].mean() == pytest.approx(truth[inside].mean(), abs=0.02)
    off = (told > 0.4) & (told < 0.6)
    assert abs(told[off].mean() - truth[off].mean()) > 0.05
