import numpy as np
from scipy.stats import false_discovery_control

from perturbkit.data.false_discovery import (
    bayesian_fdr,
    benjamini_hochberg,
    overall_and_by_source,
)


def test_rates_of_error_run_down_the_list() -> None:
    rate = bayesian_fdr(np.array([[0.9, 0.5], [1.0, 0.1]]))
    np.testing.assert_allclose(rate, [[0.05, 0.2], [0.0, 0.375]])


def test_rates_of_p_values_are_scipys_and_the_larger_of_two() -> None:
    p = np.random.default_rng(0).random((3, 40)) ** 3
    p[1, 5] = np.nan
    known = ~np.isnan(p)
    overall = np.full(p.shape, np.nan)
    overall[known] = false_discovery_control(p[known])
    np.testing.assert_allclose(benjamini_hochberg(p), overall)
    found = overall_and_by_source(p)
    np.testing.assert_allclose(found[0], np.maximum(overall[0], false_discovery_control(p[0])))
    assert np.isnan(found[1, 5])
