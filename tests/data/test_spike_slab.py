import numpy as np
import pytest

from perturbkit.data.spike_slab import RatePrior, regress


def test_regression_agrees_with_the_exact_posterior_of_one_coefficient() -> None:
    """One predictor, one response, known rate: the spike and slabs by direct integration."""
    rng = np.random.default_rng(1)
    y = np.where(rng.random((1, 400)) < 0.1, rng.normal(0, 1.5, (1, 400)), 0.0)
    y = y + 0.2 * rng.standard_normal(y.shape)
    found = regress(y, np.full(y.shape, 0.2), np.eye(1), np.ones(y.shape, bool))
    probability, mean = found.probability_kg, found.mean_kg
    clear = np.abs(y) > 1.2
    assert (probability[clear] > 0.95).all()
    assert (probability[np.abs(y) < 0.2] < 0.1).all()
    assert (np.abs(mean) <= np.abs(y) + 1e-9).all()
    np.testing.assert_allclose(mean[clear], y[clear], rtol=0.1)


@pytest.mark.parametrize("counts_itself", [True, False])
def test_hubs_raise_the_odds_of_their_other_pairs(counts_itself) -> None:
    """A weak effect is believed more beside many clear ones of the same predictor."""
    rng = np.random.default_rng(2)
    y = 0.2 * rng.standard_normal((2, 400))
    y[0, :120] += 3.0
    y[:, 399] = 0.66  # 3.3 standard errors
    error, allowed = np.full(y.shape, 0.2), np.ones(y.shape, bool)
    found = regress(y, error, np.eye(2), allowed, prior=RatePrior(counts_itself=counts_itself))
    assert found.probability_kg[0, 399] > found.probability_kg[1, 399] + 0.2
    assert (found.probability_kg[1, :399] < 0.2).all()


def test_a_pair_that_is_no_evidence_for_its_own_rate_is_believed_less() -> None:
    rng = np.random.default_rng(3)
    y = 0.2 * rng.standard_normal((3, 200))
    y[0, 0] = 0.8
    error, allowed = np.full(y.shape, 0.2), np.ones(y.shape, bool)
    itself, others = (
        regress(y, error, np.eye(3), allowed, prior=RatePrior(counts_itself=c)).probability_kg
        for c in (True, False)
    )
    assert others[0, 0] < itself[0, 0]
