import numpy as np

from perturbkit.data.null_scores import calibrated


def test_calibration_makes_a_heavy_null_normal_and_enlarges_nothing() -> None:
    rng = np.random.default_rng(2)
    null, scores = rng.standard_t(4, (300, 400)), rng.standard_t(4, (50, 400))
    found = calibrated(scores, null, np.arange(400) // 100)
    assert (np.abs(found) <= np.abs(scores) + 1e-9).all()
    for z in (2.0, 3.0):
        normal = {2.0: 0.0455, 3.0: 0.0027}[z]
        assert (np.abs(found) > z).mean() < 1.3 * normal
        assert (np.abs(scores) > z).mean() > 1.5 * normal
