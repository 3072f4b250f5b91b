"""Imputed: interventions that were never made are predicted, then all are inverted together."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.effects import Effects, mean_effects
from perturbkit.grn.inverse import direct_by_inverse
from perturbkit.grn.knockout_z import activity_sign

N_DIRECTIONS = 20
"""Most directions of the measured effects that predictions are made of."""
RIDGES = np.geomspace(1e-2, 1e3, 11)
"""Penalties to choose from, relative to the mean square of a readout's loading."""


def imputed(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return direct effects of every measured gene, perturbed or not.

    A gene that responds to perturbations as another does is expected to act as that one does:
    the effect of a perturbation is regressed on how its target's own readout responds to the
    other perturbations. The error of such a prediction, by leaving each measured perturbation out,
    is the standard error of the imputed effects, so that they count for as much as they are worth.

    Args:
        screen: cells, or profiles of single perturbations.
        rng: not used.

    Source:
        The idea of Miladinovic et al. 2025, doi:10.1038/s43588-025-00870-1 (in-silico
        perturbations by a large perturbation model, then a network); the model here is a ridge on
        the loadings of the target's readout. For a fitted model: `explain RUN --impute`.
    """
    effects = with_imputed(mean_effects(screen))
    score = direct_by_inverse(effects) / np.median(effects.se_pg, 0)
    return graph_of_scores(
        score * activity_sign(effects.kind_p)[:, None], effects.sources, effects.readouts,
        name="imputed",
    )  # fmt: skip


def with_imputed(effects: Effects) -> Effects:
    """Return measured effects and those predicted for every other readout's perturbation."""
    own = effects.own_p
    known = np.flatnonzero(own >= 0)
    missing = np.setdiff1d(np.arange(len(effects.readouts)), own[known])
    if len(known) < 3 or not len(missing):
        return effects
    delta = np.nan_to_num(effects.delta_pg)
    delta[known, own[known]] = 0.0
    # loadings of each readout on what varies over perturbations
    _, size, directions = np.linalg.svd(delta, full_matrices=False)
    n = min(N_DIRECTIONS, len(known) - 2, int((size > 1e-9).sum()))
    if n < 1:
        return effects
    features = (directions[:n] * size[:n, None]).T
    predicted, error = ridge_by_leaving_out(features[own[known]], delta[known], features[missing])
    scale = -np.nanmedian(np.abs(effects.delta_pg[known, own[known]])) or -1.0
    raised = activity_sign(effects.kind_p[known]).sum() > 0
    predicted[np.arange(len(missing)), missing] = -scale if raised else scale
    names = [*effects.sources, *(effects.readouts[int(j)] for j in missing)]
    usual = max(set(effects.kind_p), key=list(effects.kind_p).count)
    se = np.sqrt(error**2 + np.nanmedian(effects.se_pg, 0) ** 2)
    return Effects(
        Vocabulary(names, "perturbation"), effects.readouts,
        np.concatenate([effects.delta_pg, predicted]),
        np.concatenate([effects.se_pg, np.repeat(se[None], len(missing), 0)]),
        np.r_[effects.n_p, np.zeros(len(missing), effects.n_p.dtype)], effects.control_g,
        np.r_[effects.kind_p, np.full(len(missing), usual, dtype=object)], effects.is_log,
    )  # fmt: skip


def ridge_by_leaving_out(
    x_kd: np.ndarray, y_kg: np.ndarray, new_md: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions [m, g] and the error of leaving one out [g], at the best penalty.

    Source:
        Allen 1974: the residual of a row left out is its residual over one minus its leverage.
    """
    centre, mean = x_kd.mean(0), y_kg.mean(0)
    x = x_kd - centre
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    typical = max(float((s**2).mean()), 1e-12)
    best = None
    for ridge in RIDGES * typical:
        shrink = s**2 / (s**2 + ridge)
        leverage = 1 / len(x) + (u**2 * shrink).sum(1)
        residual = y_kg - mean - (u * shrink) @ (u.T @ (y_kg - mean))
        left_out = residual / np.maximum(1 - leverage, 1e-3)[:, None]
        error = float((left_out**2).mean())
        if best is None or error < best[0]:
            weights = vt.T @ ((s / (s**2 + ridge))[:, None] * (u.T @ (y_kg - mean)))
            best = error, weights, np.sqrt((left_out**2).mean(0))
    assert best is not None
    return mean + (new_md - centre) @ best[1], best[2]


card = GrnCard(
    name="imputed",
    summary="perturbations never made are predicted from the others, then all are inverted",
    source="after Miladinovic et al. 2025, doi:10.1038/s43588-025-00870-1; ridge on loadings",
    fn=imputed,
    imputes=True,
)
