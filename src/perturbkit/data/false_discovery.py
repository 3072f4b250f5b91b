"""Rates of false discoveries, of a whole matrix of tests or probabilities at once."""

import numpy as np


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Return the false discovery rate at which each test would be called, same shape.

    NaN counts as no test and stays NaN.

    Source:
        Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x, step-up.
    """
    flat = np.asarray(p_values, np.float64).ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    ranks = np.arange(1, len(order) + 1)
    scaled = flat[order] * len(order) / ranks
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted.reshape(np.shape(p_values))


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
