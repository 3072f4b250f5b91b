"""What is believed of seen conditions: three estimates, weighted by how they predict other cells.

One takes ratios of summed counts: best where effects are few and cells hold few counts. One takes
means in the unit of the profiles, shrunken along directions that conditions share: best where
effects are broad. Halves of the training cells say how much each is worth. The third is the
decoder's, which has seen both halves: the cells that only validate say how much it adds.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import nnls

from perturbkit.core.condition import conditions_of
from perturbkit.models.vae.changes import (
    control_levels,
    controls_of,
    credibility,
    decoded,
    observed_changes,
    training_table,
)
from perturbkit.models.vae.moments import mean_log1p
from perturbkit.models.vae.shrinkage import shrink, shrink_together
from perturbkit.models.vae.totals import Totals

if TYPE_CHECKING:
    from perturbkit.models.vae.model import CellVae

PRIOR_CELLS = 5.0
"""cells at which a batch's own control counts as much as its context's"""


class Believed(NamedTuple):
    """What is believed of the training conditions."""

    difference_cg: np.ndarray
    """difference of means from the control, in the unit of the profiles; 0 of controls"""
    credibility: float
    """how much of the decoder's change is taken where no cell was seen"""
    weights: np.ndarray
    """of ratios and of means in what the cells alone say, and of the decoder beside them"""


def believed(model: "CellVae") -> Believed:
    """Return the weighted sum of the estimates."""
    totals = model.totals
    assert totals is not None
    said = decoded(model, training_table(totals.keys)), decoded(model, controls_of(model))
    apart = totals.apart
    none_apart = not apart.n_c.any()
    trust = credibility(*observed_changes(model, totals if none_apart else apart, *said))
    first, second = (_estimates(model, half, said[1]) for half in totals.halves)
    seen_first, seen_second = (_observed(model, half) for half in totals.halves)
    weights = _weights(((first, seen_second), (second, seen_first)))
    alone = np.tensordot(weights, _estimates(model, totals, said[1]), 1)
    if none_apart:
        return Believed(alone, trust, np.r_[weights, 0.0])
    of_decoder = _decoder_in_unit(model, totals, said)
    learned = np.tensordot(weights, _estimates(model, totals.learned, said[1]), 1)
    share = _slope(_observed(model, apart) - learned, of_decoder - learned)
    return Believed(alone + share * (of_decoder - alone), trust, np.r_[weights, share])


def _weights(pairs: tuple[tuple[np.ndarray, np.ndarray], ...]) -> np.ndarray:
    """Return the weights of least squared error of estimates from some cells on other cells.

    Args:
        pairs: estimates [m, c, g], and what other cells show [c, g], NaN where nothing.
    """
    x, y = [], []
    for made, seen in pairs:
        known = np.isfinite(seen)
        x.append(made[:, known].T)
        y.append(seen[known])
    # the triangle of a QR decomposition holds all that least squares needs
    both = np.asarray(
        np.linalg.qr(np.column_stack([np.concatenate(x), np.concatenate(y)]), mode="r")
    )
    found, _ = nnls(both[:, :-1], both[:, -1])
    return found


def _slope(y_cg: np.ndarray, x_cg: np.ndarray) -> float:
    """Return the slope of y, NaN where not observed, on x, between 0 and 1."""
    known = np.isfinite(y_cg)
    square = float((x_cg[known] ** 2).sum())
    return float(np.clip((x_cg[known] * y_cg[known]).sum() / square, 0, 1)) if square > 0 else 0.0


def _contexts(model: "CellVae", totals: Totals) -> np.ndarray:
    conditions = conditions_of(training_table(totals.keys))
    return np.maximum(model.contexts.find([c.context for c in conditions]), 0)


def _observed(model: "CellVae", totals: Totals) -> np.ndarray:
    """Return the difference of means from the control, NaN of controls and without a cell."""
    observed = totals.mean_cg - _controls_matched(totals, _contexts(model, totals))
    is_control = [c.is_control for c in conditions_of(training_table(totals.keys))]
    observed[np.array(is_control) | (totals.n_c == 0)] = np.nan
    return observed


def _estimates(model: "CellVae", totals: Totals, origin_kg: np.ndarray) -> np.ndarray:
    """Return what ratios and what means of some cells say, [2, c, g], in the profiles' unit."""
    context_c = _contexts(model, totals)
    seen, error, _ = observed_changes(model, totals, origin_kg[context_c], origin_kg)
    base_kg, _ = control_levels(model, totals, origin_kg)
    ratios = in_unit(model, shrink(seen, error)[None], base_kg, context_c)[0]
    observed, n_c = _observed(model, totals), totals.n_c
    means = np.zeros_like(ratios)
    for k in np.unique(context_c):
        mine = np.flatnonzero((context_c == k) & np.isfinite(observed).all(1))
        if mine.size:
            n_0 = max(float(totals.control_n_kb[k].sum()), 1.0)
            means[mine] = shrink_together(observed[mine], totals.spread_g, n_c[mine], n_0)
    ratios[~np.isfinite(observed).all(1)] = 0.0
    return np.stack([ratios, means])


def _decoder_in_unit(
    model: "CellVae", totals: Totals, said: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the decoder's changes of the training conditions in the unit of the profiles."""
    context_c = _contexts(model, totals)
    change = observed_changes(model, totals, *said).decoded
    base_kg, _ = control_levels(model, totals, said[1])
    result = in_unit(model, change[None], base_kg, context_c)[0]
    result[np.isnan(_observed(model, totals)).all(1)] = 0.0
    return result


def _controls_matched(totals: Totals, context_c: np.ndarray) -> np.ndarray:
    """Return the control's mean response at each condition's mix of batches, [c, g]."""
    n = totals.control_n_kb[..., None]
    sums = totals.response_kbg
    mean = sums.sum(1, keepdims=True) / np.maximum(n.sum(1, keepdims=True), 1)
    level = (sums + PRIOR_CELLS * mean) / (n + PRIOR_CELLS)
    mix = totals.n_cb / np.maximum(totals.n_cb.sum(1, keepdims=True), 1)
    return np.einsum("cb,cbg->cg", mix, level[context_c])


def in_unit(
    model: "CellVae", change_mcg: np.ndarray, base_kg: np.ndarray, context_c: np.ndarray
) -> np.ndarray:
    """Return changes, of shares or values, as differences of means in the unit of the profiles."""
    if not model.likelihood.counts:
        return change_mcg
    assert model.totals is not None
    theta = model.likelihood.theta.detach().double().cpu().numpy()
    result = np.empty_like(change_mcg)
    for k in np.unique(context_c):
        mine = context_c == k
        share = base_kg[k] * np.exp(change_mcg[:, mine])
        both = np.concatenate([base_kg[None, k], share.reshape(-1, share.shape[-1])])
        both /= both.sum(1, keepdims=True)
        mean = mean_log1p(both, theta, model.totals.library_kl[k])
        result[:, mine] = (mean[1:] - mean[0]).reshape(share.shape)
    return result
