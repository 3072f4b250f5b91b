"""Sparse regression of many responses on few predictors with a probability for each coefficient."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

N_SWEEPS = 40
"""Most sweeps over the predictors."""
TOLERANCE = 1e-3
"""Sweeps end when no probability moves by more."""
PREDICTOR_PRIOR = 1.0
"""Weight of the mean rate against a predictor's own, in edges; networks have hubs."""
RESPONSE_PRIOR = 30.0
"""Weight of the mean rate against a response's own, in edges."""
MAX_RATE = 0.8
"""No pair is likelier than this before its data are seen."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the data say of each coefficient, [predictors, responses]."""

    probability_kg: np.ndarray
    """that the coefficient is not zero"""
    mean_kg: np.ndarray
    """posterior mean, zero included"""
    variance_kg: np.ndarray
    """posterior variance, that between zero and not zero included"""
    log_odds_kg: np.ndarray
    """log odds that it is not zero; minus infinity where it may not be"""


@dataclass(frozen=True)
class RatePrior:
    """How the rates of edges are pulled together."""

    predictor: float = PREDICTOR_PRIOR
    """weight of the mean rate against a predictor's own, in edges; the smaller, the more a
    predictor without clear edges is taken to have none"""
    most: float = MAX_RATE
    """no pair is likelier than this before its data are seen"""
    counts_itself: bool = True
    """whether a pair is evidence for the rates that it is judged by"""


@dataclass(frozen=True, eq=False)
class Carried:
    """How uncertain it is what predictors carry into rows that are not their own: variances."""

    of_mean_ik: np.ndarray
    """times the squared mean of a coefficient"""
    of_variance_ik: np.ndarray
    """times its variance"""

    @classmethod
    def of(
        cls,
        x_ik: np.ndarray,
        *,
        misfit: float = 0.0,
        x_variance_ik: np.ndarray | None = None,
        own_ik: np.ndarray | None = None,
    ) -> "Carried":
        """Return the variances that a design implies.

        Args:
            x_ik: the design.
            misfit: relative error of what is carried: the straight line between cause and effect
                is only a model.
            x_variance_ik: error variance of the design. What it and the coefficients leave open of
                the effects that predictors carry counts as noise; by default both are certain.
            own_ik: entries of x that are no guess, such as the gene that an observation knocks
                out, and carry nothing; by default the diagonal of a square x.
        """
        square_design = x_ik.shape[0] == x_ik.shape[1]
        usual = np.eye(*x_ik.shape, dtype=bool) & square_design
        own = usual if own_ik is None else own_ik
        square = np.where(own, 0.0, x_ik**2)
        if x_variance_ik is None:
            return cls(misfit**2 * square, np.zeros_like(square))
        error = np.where(own, 0.0, x_variance_ik)
        return cls(misfit**2 * square + error, square + error)

    def variance(self, mean_kg: np.ndarray, variance_kg: np.ndarray) -> np.ndarray:
        """Return the variance that is added to each observation, [i, g]."""
        return self.of_mean_ik @ mean_kg**2 + self.of_variance_ik @ variance_kg


def regress(
    y_ig: np.ndarray,
    se_ig: np.ndarray,
    x_ik: np.ndarray,
    allowed_kg: np.ndarray,
    *,
    carried: Carried | None = None,
    prior: RatePrior | None = None,
) -> Posterior:
    """Fit y = x b + noise by variational Bayes with a spike at zero and slabs of three widths.

    Rates are learned: each predictor has its own (few regulators have many targets) and so has
    each response, both pulled towards the mean. All responses are updated at once.

    Args:
        y_ig: observations by responses; NaN is not measured.
        se_ig: standard errors of the observations; infinite leaves one out.
        x_ik: observations by predictors, mostly zero off the diagonal.
        allowed_kg: which coefficients may differ from zero.
        carried: how uncertain it is what predictors carry into other rows; by default certain.
        prior: how far rates are pulled together, and their largest.

    Source:
        Carbonetto & Stephens 2012, doi:10.1214/12-BA703 (coordinate updates), with a mixture of
        slabs (Stephens 2017, doi:10.1093/biostatistics/kxw041) and two-way rates of our own.
    """
    y = np.nan_to_num(y_ig)
    base = np.where(np.isnan(y_ig), np.inf, se_ig)
    variance = base**2
    slabs = _slab_variances(y, base)
    weight = np.full(len(slabs), 1 / len(slabs))
    shape = allowed_kg.shape
    rate = np.where(allowed_kg, _first_rate(y, base, allowed_kg), 0.0)
    mean, probability, log_odds = np.zeros(shape), np.zeros(shape), np.full(shape, -np.inf)
    spread = np.zeros(shape)
    carried, prior = carried or Carried.of(x_ik), prior or RatePrior()
    fitted = np.zeros_like(y)
    rows = [np.flatnonzero(x_ik[:, k]) for k in range(x_ik.shape[1])]
    for sweep in range(N_SWEEPS):
        before = probability.copy()
        shares = np.zeros(len(slabs))
        with np.errstate(divide="ignore"):
            precision = 1 / (variance + carried.variance(mean, spread))
        for k, row in enumerate(rows):
            x = x_ik[row, k]
            a = (x**2) @ precision[row]
            b = x @ (precision[row] * (y[row] - fitted[row])) + a * mean[k]
            share_cg, width_cg, log_odds[k] = _coordinate(a, b, rate[k], slabs, weight)
            probability[k] = expit(log_odds[k])
            part_cg = share_cg * probability[k]
            new = (part_cg * width_cg * b).sum(0)
            spread[k] = (part_cg * (width_cg + (width_cg * b) ** 2)).sum(0) - new**2
            fitted[row] += x[:, None] * (new - mean[k])
            mean[k] = new
            shares += part_cg.sum(1)
        rate = _rates(probability, allowed_kg, prior)
        weight = (shares + 1) / (shares.sum() + len(slabs))
        if sweep > 2 and np.abs(probability - before).max() < TOLERANCE:
            break
    return Posterior(probability, mean, spread, log_odds)


def _slab_variances(y_ig: np.ndarray, se_ig: np.ndarray) -> np.ndarray:
    """Return the variances of the slabs, from the size of what stands out of the noise."""
    with np.errstate(invalid="ignore"):
        z = np.abs(y_ig) / se_ig
    outstanding = np.abs(y_ig[z > 4])
    finite = se_ig[np.isfinite(se_ig)]
    typical = (
        float(np.median(outstanding))
        if len(outstanding) > 5
        else 4 * float(np.median(finite))
        if len(finite)
        else 1.0
    )
    return typical**2 * np.array([0.03, 0.3, 2.0])


def _first_rate(y_ig: np.ndarray, se_ig: np.ndarray, allowed_kg: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        share = float(np.mean(np.abs(y_ig) / se_ig > 4))
    return float(np.clip(share, 1 / max(allowed_kg.sum(), 2), 0.3))


def _coordinate(
    a_g: np.ndarray, b_g: np.ndarray, rate_g: np.ndarray, slabs: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return share and variance of each slab, [slabs, responses], and the log odds of any."""
    width_cg = 1 / (a_g + 1 / slabs[:, None])
    log_part = (
        np.log(weight)[:, None] + 0.5 * np.log(width_cg / slabs[:, None]) + 0.5 * width_cg * b_g**2
    )
    top = log_part.max(0)
    part = np.exp(log_part - top)
    total = part.sum(0)
    with np.errstate(divide="ignore"):
        odds = np.log(rate_g) - np.log1p(-rate_g) + top + np.log(total)
    return part / total, width_cg, odds


def _rates(probability_kg: np.ndarray, allowed_kg: np.ndarray, prior: RatePrior) -> np.ndarray:
    """Return the prior rate of each pair: overall rate x predictor's factor x response's factor."""
    n = max(int(allowed_kg.sum()), 2)
    mean_rate = max(float(probability_kg.sum()) / n, 1 / n)
    expected_k = mean_rate * allowed_kg.sum(1, keepdims=True)
    found_k = probability_kg.sum(1, keepdims=True)
    factor_k = (found_k + prior.predictor) / (expected_k + prior.predictor)
    expected_g = mean_rate * (factor_k[:, 0] @ allowed_kg)
    found_g = probability_kg.sum(0)
    if not prior.counts_itself:
        found_k, found_g = found_k - probability_kg, found_g - probability_kg
        factor_k = (found_k + prior.predictor) / (expected_k + prior.predictor)
    factor_g = (found_g + RESPONSE_PRIOR) / (expected_g + RESPONSE_PRIOR)
    rate = np.minimum(mean_rate * factor_k * factor_g, prior.most)
    return np.where(allowed_kg, rate, 0.0)
