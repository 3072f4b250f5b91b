"""Empirical Bayes: how much of an observed deviation to believe, given its standard error."""

import numpy as np

_SCALES = np.r_[0.0, 0.5 * 2.0 ** np.arange(6)]
"""standard deviations of the mixture's normals, in typical standard errors"""
_PRIOR_READOUTS = 20.0
"""weight of the mixture that all conditions share against a condition's own, in readouts"""
_SIZES = np.r_[0.0, 4.0 ** np.arange(-3, 5)]
"""squared sizes of a readout's deviations, in those of the common covariance"""
_ALONE = 0.1
"""variance that each condition has of its own in the common covariance, in that of the noise"""
_N_STEPS = 60
_START = 0.9
"""share of readouts without any deviation that the search starts from"""


def shrink(y_cg: np.ndarray, se_cg: np.ndarray) -> np.ndarray:
    """Return the posterior mean of deviations whose prior is a mixture of normals around zero.

    Each condition has its own weights of the normals, pulled towards those of all conditions, so
    that a condition without effect gets none and a strong one keeps its largest deviations.

    Args:
        y_cg: observed deviations; NaN is not observed.
        se_cg: their standard errors, positive.

    Returns:
        Posterior means [c, g]; 0 where nothing was observed.

    Source:
        Stephens 2017, doi:10.1093/biostatistics/kxw041 (adaptive shrinkage, a grid of normals
        fitted by expectation maximization), with shared weights.
    """
    known = np.isfinite(y_cg) & np.isfinite(se_cg)
    y = np.where(known, y_cg, 0.0)
    variance = np.where(known, se_cg, 1.0) ** 2
    unit = float(np.median(variance[known])) if known.any() else 1.0
    slabs = _SCALES**2 * unit
    # likelihood of each deviation under each normal, [m, c, g], relative to the largest
    total = variance + slabs[:, None, None]
    log_lik = -0.5 * (np.log(total) + y**2 / total)
    log_lik -= log_lik.max(0)
    likelihood = (np.exp(log_lik) * known).astype(np.float32)
    shared = np.r_[_START, np.full(len(slabs) - 1, (1 - _START) / (len(slabs) - 1))]
    for _ in range(_N_STEPS):
        shared = _step(likelihood, np.broadcast_to(shared[:, None], likelihood.shape[:2])).sum(1)
        shared /= max(float(shared.sum()), 1e-300)
    weight = np.repeat(shared[:, None], y.shape[0], axis=1)
    for _ in range(_N_STEPS):
        counts = _step(likelihood, weight) + _PRIOR_READOUTS * shared[:, None]
        weight = counts / counts.sum(0)
    part = likelihood * weight[..., None]
    part /= np.maximum(part.sum(0), 1e-300)
    return (part * (slabs[:, None, None] / total)).sum(0) * y


def _step(likelihood_mcg: np.ndarray, weight_mc: np.ndarray) -> np.ndarray:
    """Return how many readouts each normal accounts for in each condition, [m, c]."""
    part = likelihood_mcg * weight_mc[..., None]
    part /= np.maximum(part.sum(0), 1e-300)
    return part.sum(2)


def shrink_together(
    y_cg: np.ndarray, spread_g: np.ndarray, n_c: np.ndarray, n_0: float
) -> np.ndarray:
    """Return the posterior mean of deviations whose prior is common to all readouts.

    In units of its errors a readout's deviations are normal around zero with a covariance that
    all readouts share, times a size of its own: what several conditions do alike is kept, what
    one does alone is believed less, and most readouts do nothing. The covariance is what the
    observed one exceeds noise by; the sizes are a mixture.

    Args:
        y_cg: deviations of means from a control's.
        spread_g: variance of a cell.
        n_c: cells of each condition.
        n_0: cells of the control that all were compared with.

    Source:
        Urbut et al. 2019, doi:10.1038/s41588-018-0268-8 (multivariate adaptive shrinkage), with
        one covariance in the place of many; with one size it is Efron & Morris 1972,
        doi:10.1093/biomet/59.2.335.
    """
    # the control's error is shared: whiten conditions by diag(1 / n) + 1 / n_0
    level, basis = np.linalg.eigh(np.diag(1 / np.maximum(n_c, 1.0)) + 1 / max(n_0, 1.0))
    level, sd = np.sqrt(level)[:, None], np.sqrt(spread_g)
    # in the basis of V^-1/2, which conditions share, so that no condition is mixed with another
    u, s, vt = np.linalg.svd(basis @ ((basis.T @ y_cg) / level) / sd, full_matrices=False)
    score = s[:, None] * vt
    direction = np.maximum(s**2 / y_cg.shape[1] - 1, 0) + _ALONE
    signal = _SIZES[:, None] * direction
    believed = signal / (1 + signal)
    log_lik = 0.5 * (believed @ score**2 - np.log1p(signal).sum(1)[:, None])
    likelihood = np.exp(log_lik - log_lik.max(0))
    weight = np.full(len(_SIZES), 1 / len(_SIZES))
    for _ in range(_N_STEPS):
        weight = _step(likelihood[:, None], weight[:, None])[:, 0] / y_cg.shape[1]
    part = likelihood * weight[:, None]
    part /= part.sum(0)
    return basis @ (level * (basis.T @ (u @ ((part.T @ believed).T * score)))) * sd
