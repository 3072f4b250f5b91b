"""What is believed of seen conditions: two estimates, weighted by how they predict other cells.

One adds to the decoder's change what ratios of summed counts say beyond it: best where effects are
few and cells hold few counts. The other does so with means in the unit of the profiles, shrunken
along directions that conditions share: best where effects are broad. Halves of the training cells
say how much each is worth.
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
    """how much of the decoder's change is taken"""
    weights: np.ndarray
    """of the two estimates"""


class _Said(NamedTuple):
    """What some of the training cells say, in the unit of the profiles."""

    estimates_mcg: np.ndarray
    observed_cg: np.ndarray
    """NaN of controls and of conditions without a cell"""
    credibility: float


def believed(model: "CellVae") -> Believed:
    """Return the weighted sum of both estimates, with weights from halves of the cells."""
    totals = model.totals
    assert totals is not None
    assert totals.halves is not None
    said = decoded(model, training_table(totals.keys)), decoded(model, controls_of(model))
    first, second = (_said(model, half, *said) for half in totals.halves)
    weights = _weights(((first, second), (second, first)))
    whole = _said(model, totals, *said)
    difference = np.tensordot(weights, whole.estimates_mcg, 1)
    return Believed(difference, whole.credibility, weights)


def _weights(pairs: tuple[tuple[_Said, _Said], ...]) -> np.ndarray:
    """Return the weights of least squared error of estimates from some cells on other cells."""
    x, y = [], []
    for made, seen in pairs:
        known = np.isfinite(seen.observed_cg)
        x.append(made.estimates_mcg[:, known].T)
        y.append(seen.observed_cg[known])
    # the triangle of a QR decomposition holds all that least squares needs
    both = np.asarray(
        np.linalg.qr(np.column_stack([np.concatenate(x), np.concatenate(y)]), mode="r")
    )
    found, _ = nnls(both[:, :-1], both[:, -1])
    return found


def _said(model: "CellVae", totals: Totals, decoded_cg: np.ndarray, origin_kg: np.ndarray) -> _Said:
    evidence = observed_changes(model, totals, decoded_cg, origin_kg)
    trust = credibility(*evidence)
    prior = trust * evidence.decoded
    shares = prior + shrink(evidence.observed - prior, evidence.error)
    base_kg, _ = control_levels(model, totals, origin_kg)
    conditions = conditions_of(training_table(totals.keys))
    context_c = np.maximum(model.contexts.find([c.context for c in conditions]), 0)
    prior, shares = in_unit(model, np.stack([prior, shares]), base_kg, context_c)
    n_c = totals.n_cb.sum(1)
    observed = totals.mean_cg - _controls_matched(totals, context_c)
    observed[np.array([c.is_control for c in conditions]) | (n_c == 0)] = np.nan
    means = np.zeros_like(prior)
    for k in np.unique(context_c):
        mine = np.flatnonzero((context_c == k) & np.isfinite(observed).all(1))
        n_0 = max(float(totals.control_n_kb[k].sum()), 1.0)
        if mine.size:
            beyond = observed[mine] - prior[mine]
            together = shrink_together(beyond, totals.spread_g, n_c[mine], n_0)
            error = np.sqrt(totals.spread_g * (1 / n_c[mine, None] + 1 / n_0))
            means[mine] = prior[mine] + together + shrink(beyond - together, error)
    empty = ~np.isfinite(observed).all(1)
    means[empty], shares[empty] = prior[empty], prior[empty]
    return _Said(np.stack([shares, means]), observed, trust)


def _controls_matched(totals: Totals, context_c: np.ndarray) -> np.ndarray:
    """Return the control's mean response at each condition's mix of batches, [c, g]."""
    n = totals.control_n_kb[..., None]
    mean = (n * totals.response_kbg).sum(1, keepdims=True) / np.maximum(
        n.sum(1, keepdims=True), 1)  # fmt: skip
    level = (n * totals.response_kbg + PRIOR_CELLS * mean) / (n + PRIOR_CELLS)
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
