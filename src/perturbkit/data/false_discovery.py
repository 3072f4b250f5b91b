"""Rates of false discoveries, of a whole matrix of tests or probabilities at once."""

import numpy as np


def benjamini_hochberg_by_row(p_value_pg: np.ndarray) -> np.ndarray:
    """Return the false discovery rate of each p-value within its row; none may be NaN.

    Source:
        Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x, step-up;
        equals `scipy.stats.false_discovery_control` of each row.
    """
    n = p_value_pg.shape[1]
    order = np.argsort(p_value_pg, axis=1)
    scaled = np.take_along_axis(p_value_pg, order, 1) * (n / np.arange(1, n + 1))
    # the smallest of all that are at least as large
    scaled = np.minimum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1]
    fdr = np.empty_like(scaled)
    np.put_along_axis(fdr, order, np.clip(scaled, 0, 1), 1)
    return fdr


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Return the false discovery rate at which each test would be called, same shape.

    NaN counts as no test and stays NaN.
    """
    values = np.asarray(p_values, np.float64)
    tested = ~np.isnan(values)
    adjusted = np.full(values.shape, np.nan)
    adjusted[tested] = benjamini_hochberg_by_row(values[tested][None])[0]
    return adjusted


def overall_and_by_source(p_value_pg: np.ndarray) -> np.ndarray:
    """Return the larger of the rates among all pairs and among those of the same source.

    So the many effects of some sources lend none to a source without.
    """
    by_source = np.stack([benjamini_hochberg(p) for p in p_value_pg])
    return np.fmax(benjamini_hochberg(p_value_pg), by_source)


def bayesian_fdr(probability: np.ndarray) -> np.ndarray:
    """Return for each edge the mean probability of error among all at least as likely."""
    flat = probability.ravel()
    order = np.argsort(-flat, kind="stable")
    rate = np.empty(len(flat))
    rate[order] = np.cumsum(1 - flat[order]) / np.arange(1, len(flat) + 1)
    return rate.reshape(probability.shape)
