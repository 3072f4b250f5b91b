"""Steady states of a gene network under perturbation: Hill kinetics, many conditions at once."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from perturbkit.core.errors import DivergedError
from perturbkit.data.simulate.network import Network

TOLERANCE = 1e-9
"""Largest change of any log level in the last sweep."""
MAX_SWEEPS = 900
CALM = ((0, 1.0), (30, 0.5), (120, 0.2), (400, 0.05))
"""From which sweep on each moves which part of the way; shorter steps stop oscillation."""
ROUNDING = 1e-6
"""Smaller changes of a log level are rounding of the sweeps: genes not reached stay at rest."""
BLOCK = 256
"""Conditions solved together; their state stays in the cache."""


@dataclass(frozen=True, eq=False)
class Doses:
    """What is done to which gene in which condition; one entry for each target."""

    gene: np.ndarray
    """int64 [entries]"""
    condition: np.ndarray
    """int64 [entries], ascending"""
    log_production: np.ndarray
    """float64 [entries], added to the log of the gene's production"""
    log_activity: np.ndarray
    """float64 [entries], added to the log of what its targets see; -inf for a knock-out"""


def steady_states(
    network: Network,
    active_e: np.ndarray,
    log_basal_g: np.ndarray,
    doses: Doses,
    n_conditions: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log levels of all genes at rest and in each condition of one context.

    A gene's level is y = basal (1 + w) P / (1 + w P) with P the product over its active inputs of
    (1 + (F - 1) h(s)) divided by its value at s = 1, h(s) = s^n / (K^n + s^n), s the level of the
    regulator or the product of those of a complex's members, F the fold change (its inverse for a
    repressor), w the promoter's openness: independent binding and saturation of the promoter.
    All levels are 1 where basal is 1 and no edge is inactive. Sweeps go down the hierarchy, so
    that without feedback the second changes nothing.

    Args:
        network: edges and genes.
        active_e: bool, the edges that work in this context.
        log_basal_g: log basal production in this context.
        doses: what is done in each condition.
        n_conditions: how many conditions.

    Returns:
        Natural log of levels at rest, float64 [g], and of each condition, float64 [c, g].

    Raises:
        DivergedError: feedback keeps the network from settling.
    """
    tiers = _tiers(network, active_e)
    nothing = _dense(doses, 0, 0, network.n_genes)
    start = np.zeros((network.n_genes, 1))
    rest_g = _settle(network, tiers, log_basal_g, nothing, start)[:, 0]
    log_cg = np.empty((n_conditions, network.n_genes))
    for low in range(0, n_conditions, BLOCK):
        high = min(low + BLOCK, n_conditions)
        block = _dense(doses, low, high, network.n_genes)
        start = np.repeat(rest_g[:, None], high - low, axis=1)
        settled = _settle(network, tiers, log_basal_g, block, start)
        log_cg[low:high] = np.where(np.abs(settled - start) < ROUNDING, start, settled).T
    return rest_g, log_cg


@dataclass(frozen=True, eq=False)
class _Tier:
    """The regulated genes of one level; their edges ordered by gene, then by input."""

    genes: np.ndarray
    first_input: np.ndarray
    first_member: np.ndarray
    source: np.ndarray
    hill: np.ndarray
    log_half: np.ndarray
    gain: np.ndarray
    rest: np.ndarray


def _tiers(network: Network, active_e: np.ndarray) -> list[_Tier]:
    edges = np.flatnonzero(active_e)
    edges = edges[np.lexsort((network.group[edges], network.target[edges]))]
    level_e = network.level[network.target[edges]]
    tiers = []
    for level in np.unique(level_e):
        members = edges[level_e == level]
        member_of = network.group[members]
        starts = np.flatnonzero(np.r_[True, member_of[1:] != member_of[:-1]])
        e = members[starts]
        genes, first = np.unique(network.target[e], return_index=True)
        hill, half = network.hill[e, None], network.log_half[e, None]
        gain = np.expm1(network.sign[e] * network.log_fold[e])[:, None]
        rest = np.log1p(gain * expit(-hill * half))
        source = network.source[members]
        tiers.append(_Tier(genes, first, starts, source, hill, half, gain, rest))
    return tiers


def _dense(doses: Doses, low: int, high: int, n_genes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return log production and log activity shifts of a block of conditions, [g, block]."""
    width = max(1, high - low)
    here = slice(*np.searchsorted(doses.condition, [low, high]))
    shift = np.zeros((2, n_genes, width))
    where = (doses.gene[here], doses.condition[here] - low)
    np.add.at(shift[0], where, doses.log_production[here])
    np.add.at(shift[1], where, doses.log_activity[here])
    return shift[0], shift[1]


def _settle(
    network: Network,
    tiers: list[_Tier],
    log_basal_g: np.ndarray,
    shift: tuple[np.ndarray, np.ndarray],
    log_gb: np.ndarray,
) -> np.ndarray:
    """Sweep until each column is at rest; a settled column is not touched again."""
    production, activity = shift
    basal = log_basal_g[:, None] + production
    openness = network.openness[:, None]
    result = np.empty_like(log_gb)
    left = np.arange(log_gb.shape[1])
    log_gb = log_gb.copy()
    unregulated = np.ones(network.n_genes, bool)
    for tier in tiers:
        unregulated[tier.genes] = False
    log_gb[unregulated] = basal[unregulated]
    for sweep in range(MAX_SWEEPS):
        step = next(s for begin, s in reversed(CALM) if sweep >= begin)
        moved = np.zeros(log_gb.shape[1])
        for tier in tiers:
            seen = log_gb[tier.source] + activity[tier.source]
            seen = np.add.reduceat(seen, tier.first_member, axis=0)
            bound = expit(tier.hill * (seen - tier.log_half))
            total = np.add.reduceat(
                np.log1p(tier.gain * bound) - tier.rest, tier.first_input, axis=0
            )
            w = openness[tier.genes]
            new = basal[tier.genes] + total + np.log1p(w) - np.log1p(w * np.exp(total))
            change = step * (new - log_gb[tier.genes])
            log_gb[tier.genes] += change
            np.maximum(moved, np.abs(change).max(0), out=moved)
        done = moved < TOLERANCE
        if done.any():
            result[:, left[done]] = log_gb[:, done]
            keep = ~done
            left, log_gb = left[keep], log_gb[:, keep]
            basal, activity = basal[:, keep], activity[:, keep]
        if not left.size:
            return result
    message = (
        f"{left.size} conditions had not settled after {MAX_SWEEPS} sweeps; the feedback is too "
        "strong for a steady state: lower network.feedback, network.fold or network.hill"
    )
    raise DivergedError(message)
