"""How wrong a fitted model is, learned from the validation conditions: conformal intervals.

The size of an error depends on the readout, on the context and on how much is predicted to
change. A scale with these three parts is fitted to the errors of the validation conditions,
shrunken where they are few; then the quantiles of |error| / scale, each condition judged by a
scale fitted without it, say how wide an interval of any level must be. Nothing is assumed of the
model.

Source:
    Conformal prediction with normalised scores: Lei et al. 2018, doi:10.1080/01621459.2017.1307116,
    section 5.2; leaving one condition out in place of a second split: Barber et al. 2021,
    doi:10.1214/20-AOS1965 (jackknife+).
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.core.spread import Spread
from perturbkit.core.vocabulary import Vocabulary

LEVELS = (0.05, *(round(0.1 * i, 1) for i in range(1, 10)), 0.95)
FEWEST = 5
"""validation conditions below which no interval is stated"""
_READOUT_WEIGHT = 10.0
"""conditions that the variance expected of a readout counts for"""
_CONTEXT_WEIGHT = 5.0
"""conditions that a context like all others counts for"""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """The scale of errors and its quantiles."""

    readouts: Vocabulary
    variance_kg: np.ndarray
    """mean squared error of each readout in each context, and last in any, shrunken, float32"""
    centre_kg: np.ndarray
    """mean training response of each context, and last of all contexts, float32"""
    contexts: tuple[str, ...]
    context_factors: tuple[float, ...]
    """scale of each context over that of all"""
    effect_exponent: float
    """the scale grows with this power of the predicted effect"""
    typical_effect: float
    status_factors: dict[str, float]
    factors: tuple[float, ...]
    """quantiles of |error| / scale at LEVELS"""
    n: int
    """validation conditions it was fitted on"""

    def spread(self, predicted: Responses) -> Spread:
        """Return the spread of predictions, NaN where they are."""
        code = _codes(self.contexts, predicted.contexts)
        scale = _row_scale(self, predicted)[:, None] * np.sqrt(self.variance_kg[code])
        scale = np.where(np.isnan(predicted.mean_cg), np.nan, scale).astype(np.float32)
        scale[predicted.is_control] = np.nan  # a control is measured, or the context is refused
        return Spread(scale, LEVELS, self.factors)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and plain values."""
        arrays = {"variance_kg": self.variance_kg, "centre_kg": self.centre_kg}
        plain = {
            "readouts": list(self.readouts), "contexts": list(self.contexts),
            "context_factors": list(self.context_factors),
            "effect_exponent": self.effect_exponent, "typical_effect": self.typical_effect,
            "status_factors": self.status_factors, "factors": list(self.factors), "n": self.n,
        }  # fmt: skip
        return arrays, plain

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> Self:
        """Rebuild from `state`."""
        tuples = {k: tuple(plain[k]) for k in ("contexts", "context_factors", "factors")}
        names = Vocabulary(plain["readouts"], "readout")
        if "variance_g" in arrays:  # of a run that was written when contexts shared it
            arrays = {n: a for n, a in arrays.items() if n != "variance_g"} | {
                "variance_kg": np.tile(arrays["variance_g"], (len(tuples["contexts"]) + 1, 1))
            }
        rest = {k: plain[k] for k in ("effect_exponent", "typical_effect", "status_factors", "n")}
        return cls(readouts=names, **arrays, **tuples, **rest)


def fit_uncertainty(
    train: Responses, val: Responses | None, predicted: Responses | None
) -> Uncertainty | None:
    """Learn the scale of a model's errors from conditions that it was not fitted on.

    Args:
        train: the training conditions, for the variance expected of readouts.
        val: measured validation conditions.
        predicted: what the model says of them, in the same order.

    Returns:
        None where fewer than five validation conditions were answered.
    """
    if val is None or predicted is None:
        return None
    answered = (predicted.conditions["status"] != "refused").to_numpy() & ~val.is_control
    answered &= ~np.isnan(val.mean_cg - predicted.mean_cg).all(1)
    if answered.sum() < FEWEST:
        return None
    val, predicted = val.select(answered), predicted.select(answered)
    error_cg = np.square(predicted.mean_cg - val.mean_cg, dtype=np.float64)
    contexts, centre_kg, prior_kg = _expected(train)
    prior_cg = prior_kg[_codes(contexts, val.contexts)]
    known = ~np.isnan(error_cg)
    # errors in units of what is expected of the readout in the context
    unit_cg = np.where(known, error_cg, 0) / prior_cg
    usual = unit_cg.sum() / known.sum()
    sums, n_g = unit_cg.sum(0), known.sum(0)
    ratio_g = (sums + _READOUT_WEIGHT * usual) / (n_g + _READOUT_WEIGHT)
    left_cg = (sums - unit_cg + _READOUT_WEIGHT * usual) / (n_g - known + _READOUT_WEIGHT)
    left_cg *= prior_cg
    ratio_c = np.nanmean(error_cg / np.maximum(left_cg, 1e-30), 1)
    names = val.contexts
    log_effect = np.log(np.maximum(_effects(contexts, centre_kg, predicted), 1e-12))
    typical = float(np.median(log_effect))
    exponent = _exponent(log_effect - typical, np.log(np.maximum(ratio_c, 1e-30)) / 2)
    rest_c = ratio_c * np.exp(-2 * exponent * (log_effect - typical))
    factors = [_shrunken(rest_c[names == c], rest_c.mean()) for c in contexts]
    found = Uncertainty(
        readouts=val.readouts, variance_kg=(prior_kg * ratio_g).astype(np.float32),
        centre_kg=centre_kg, contexts=contexts, context_factors=tuple(factors),
        effect_exponent=exponent, typical_effect=float(np.exp(typical)), status_factors={},
        factors=(1.0,) * len(LEVELS), n=len(names),
    )  # fmt: skip
    score_cg = np.sqrt(error_cg / np.maximum(left_cg, 1e-30))
    return _calibrated(found, predicted, score_cg)


def _calibrated(found: Uncertainty, predicted: Responses, score_cg: np.ndarray) -> Uncertainty:
    """Take the quantiles of the scores; a status that was never met is as wide as the widest."""
    score_cg = score_cg / _row_scale(found, predicted)[:, None]
    factors = np.maximum.accumulate(np.nanquantile(score_cg, LEVELS))
    whole = np.nanquantile(score_cg, 0.8)
    status_c = predicted.conditions["status"].to_numpy()
    status = {
        str(s): float(np.nanquantile(score_cg[status_c == s], 0.8) / max(whole, 1e-30))
        for s in np.unique(status_c) if (status_c == s).sum() >= FEWEST
    }  # fmt: skip
    if len(status) < 2:
        status = {}
    return replace(found, factors=tuple(factors.tolist()), status_factors=status)


def _row_scale(found: Uncertainty, predicted: Responses) -> np.ndarray:
    """Return the part of the scale that belongs to the condition, [c]."""
    at = dict(zip(found.contexts, found.context_factors, strict=True))
    unknown = max(found.context_factors)
    context = np.array([at.get(c, unknown) for c in predicted.contexts])
    effect = _effects(found.contexts, found.centre_kg, predicted)
    ratio = np.maximum(effect, 1e-12) / found.typical_effect
    widest = max(found.status_factors.values(), default=1.0)
    status = [found.status_factors.get(s, widest) for s in predicted.conditions["status"]]
    # an effect far outside of those seen says nothing more of its error
    return context * np.clip(ratio, 0.1, 10) ** found.effect_exponent * np.array(status)


def _codes(contexts: tuple[str, ...], names: np.ndarray) -> np.ndarray:
    """Return the place of each context, after the last for those unknown."""
    place = {c: k for k, c in enumerate(contexts)}
    return np.array([place.get(c, len(contexts)) for c in names], np.int64)


def _effects(contexts: tuple[str, ...], centre_kg: np.ndarray, predicted: Responses) -> np.ndarray:
    """Return the root mean square of what is predicted beyond the mean of the context, [c]."""
    beyond = predicted.mean_cg - centre_kg[_codes(contexts, predicted.contexts)]
    known = ~np.isnan(beyond)
    total = np.where(known, beyond, 0)
    return np.sqrt(np.square(total).sum(1) / np.maximum(known.sum(1), 1))


def _expected(train: Responses) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return contexts, their mean response, and the variance of each readout within each.

    Both have a last row for all contexts together, to which the variance of a context is drawn
    where it has few conditions.
    """
    perturbed = train.select(~train.is_control)
    contexts = tuple(sorted(set(train.contexts.tolist())))
    values, names = perturbed.mean_cg, perturbed.contexts
    overall = _mean(values)
    centre_kg = np.stack([_mean(values[names == c]) for c in contexts])
    centre_kg = np.where(np.isnan(centre_kg), overall, centre_kg)
    square_kg, n_kg = np.zeros(centre_kg.shape), np.zeros(centre_kg.shape)
    for k, context in enumerate(contexts):
        rows = values[names == context] - centre_kg[k]
        square_kg[k], n_kg[k] = np.nansum(np.square(rows), 0), (~np.isnan(rows)).sum(0)
    variance_g = square_kg.sum(0) / np.maximum(n_kg.sum(0), 1)
    variance_g = np.maximum(variance_g, max(float(variance_g.mean()) * 1e-4, 1e-12))
    # the mean of n rows takes one of them up: n - 1 squares tell of the variance
    told = np.maximum(n_kg - 1, 0)
    own_kg = (square_kg + _READOUT_WEIGHT * variance_g) / (told + _READOUT_WEIGHT)
    centre_kg = np.nan_to_num(np.vstack([centre_kg, overall])).astype(np.float32)
    return contexts, centre_kg, np.vstack([own_kg, variance_g])


def _mean(rows: np.ndarray) -> np.ndarray:
    n = (~np.isnan(rows)).sum(0)
    return np.where(n > 0, np.nansum(rows, 0) / np.maximum(n, 1), np.nan)


def _exponent(log_effect: np.ndarray, log_scale: np.ndarray) -> float:
    """Return the slope of one on the other, drawn to 0 as ten further conditions would."""
    x, y = log_effect - log_effect.mean(), log_scale - log_scale.mean()
    power = float(x @ x)
    slope = float(x @ y) / (power + 10 * max(power / len(x), 1e-12))
    return float(np.clip(slope, 0, 1.5))


def _shrunken(ratios: np.ndarray, overall: float) -> float:
    total = ratios.sum() + _CONTEXT_WEIGHT * overall
    return float(np.sqrt(total / (len(ratios) + _CONTEXT_WEIGHT)))
