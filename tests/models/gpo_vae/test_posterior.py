import numpy as np

from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.gpo_vae.evidence import Evidence, calibrate, common_shift
from perturbkit.models.gpo_vae.posterior import direct_effects, regress, running_error, tempered

GENES = ["A", "B", "C", *(f"R{i}" for i in range(57))]


def evidence(change: np.ndarray, error: float = 0.05, rng=None) -> Evidence:
    rng = rng or np.random.default_rng(0)
    noisy = change + error * rng.standard_normal(change.shape)
    sources = Vocabulary(GENES[: len(change)], "perturbation")
    return Evidence(
        sources, Vocabulary(GENES, "readout"), noisy, np.full(change.shape, error),
        np.zeros(len(change), bool), np.zeros(len(change), bool),
    )  # fmt: skip


def chain() -> np.ndarray:
    """A activates B and B activates C; every knock-down takes 80 % of its own gene."""
    change = np.zeros((3, len(GENES)))
    change[0, :3] = np.log(0.2), 0.6 * np.log(0.2), 0.36 * np.log(0.2)
    change[1, 1:3] = np.log(0.2), 0.6 * np.log(0.2)
    change[2, 2] = np.log(0.2)
    change[1, 10:20] = 1.0  # B has targets of its own
    change[0, 10:20] = 0.6
    return change


def test_a_chain_is_recovered_without_its_short_cut() -> None:
    found = direct_effects(evidence(chain()))
    assert found.probability[0, 1] > 0.9
    assert found.probability[1, 2] > 0.9
    assert found.probability[0, 2] < 0.3
    assert (found.probability[1, 10:20] > 0.9).all()
    assert found.probability[0, 10:20].mean() < 0.3
    assert found.effect[0, 1] < 0
    assert np.isclose(found.probability[[0, 1, 2], [0, 1, 2]], 0).all()


def test_noise_alone_gives_no_edge() -> None:
    for seed in range(5):
        found = direct_effects(evidence(np.zeros((3, 60)), rng=np.random.default_rng(seed)))
        assert (found.fdr > 0.05).all()


def test_regression_agrees_with_the_exact_posterior_of_one_coefficient() -> None:
    """One predictor, one response, known rate: the spike and slabs by direct integration."""
    rng = np.random.default_rng(1)
    y = np.where(rng.random((1, 400)) < 0.1, rng.normal(0, 1.5, (1, 400)), 0.0)
    y = y + 0.2 * rng.standard_normal(y.shape)
    probability, mean = regress(y, np.full(y.shape, 0.2), np.eye(1), np.ones(y.shape, bool))
    clear = np.abs(y) > 1.2
    assert (probability[clear] > 0.95).all()
    assert (probability[np.abs(y) < 0.2] < 0.1).all()
    assert (np.abs(mean) <= np.abs(y) + 1e-9).all()
    np.testing.assert_allclose(mean[clear], y[clear], rtol=0.1)


def test_rates_of_error_run_down_the_list() -> None:
    rate = running_error(np.array([[0.9, 0.5], [1.0, 0.1]]))
    np.testing.assert_allclose(rate, [[0.05, 0.2], [0.0, 0.375]])


def test_tempering_keeps_order_ends_and_the_middle() -> None:
    p = np.array([0.0, 0.01, 0.5, 0.97, 1.0])
    found = tempered(p)
    assert (np.diff(found) > 0).all()
    assert found[2] == 0.5
    assert found[3] < 0.97


def test_calibration_makes_a_heavy_null_normal_and_enlarges_nothing() -> None:
    rng = np.random.default_rng(2)
    null, scores = rng.standard_t(4, (300, 400)), rng.standard_t(4, (50, 400))
    found = calibrate(scores, null, np.arange(400.0))
    assert (np.abs(found) <= np.abs(scores) + 1e-9).all()
    for z in (2.0, 3.0):
        normal = {2.0: 0.0455, 3.0: 0.0027}[z]
        assert (np.abs(found) > z).mean() < 1.3 * normal
        assert (np.abs(scores) > z).mean() > 1.5 * normal


def test_a_shift_of_all_readouts_is_no_effect() -> None:
    rng = np.random.default_rng(3)
    change = 0.4 + 0.1 * rng.standard_normal((2, 501))
    change[0, :50] = 3.0
    shift = common_shift(change, np.full(change.shape, 0.1))
    np.testing.assert_allclose(shift[:, 0], 0.4, atol=0.03)
