"""Steady states of a gene network under perturbation: Hill kinetics, many conditions at once."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve
from scipy.special import expit

from perturbkit.core.errors import DivergedError
from perturbkit.data.simulate.network import Network

TOLERANCE = 1e-9
"""Largest change of any log level in the last sweep."""
SWEEPS = 90
CALM_SWEEPS = 30
"""After so many sweeps each further one moves half of the way, which stops most oscillation."""
NEWTON_STEPS = 60
"""What sweeps do not settle, Newton's method does, one condition after the other."""
LONGEST_STEP = 1.0
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


def _bound(
    tier: _Tier, log_gb: np.ndarray, activity_gb: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each input is bound, 0 to 1, and the log of the product P of each gene."""
    seen = log_gb[tier.source] + activity_gb[tier.source]
    bound = expit(tier.hill * (np.add.reduceat(seen, tier.first_member, axis=0) - tier.log_half))
    effect = np.log1p(tier.gain * bound) - tier.rest
    return bound, np.add.reduceat(effect, tier.first_input, axis=0)


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
    unregulated = np.ones(network.n_genes, bool)
    for tier in tiers:
        unregulated[tier.genes] = False
    log_gb = np.where(unregulated[:, None], basal, log_gb)
    for sweep in range(SWEEPS):
        step = 1.0 if sweep < CALM_SWEEPS else 0.5
        moved = np.zeros(log_gb.shape[1])
        for tier in tiers:
            _, total = _bound(tier, log_gb, activity)
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
    for i, column in enumerate(left):
        column_of = (slice(None), slice(i, i + 1))
        result[:, column] = _newton(
            network, tiers, basal[column_of], activity[column_of], log_gb[column_of]
        )
    return result


def _newton(
    network: Network,
    tiers: list[_Tier],
    basal: np.ndarray,
    activity: np.ndarray,
    log_g1: np.ndarray,
) -> np.ndarray:
    """Return the log levels, [g], at which production equals decay; all arrays are [g, 1].

    Where the network keeps oscillating, this is the point it oscillates around.
    """
    rows, columns = [], []
    for tier in tiers:
        inputs = np.diff(np.r_[tier.first_input, len(tier.hill)])
        members = np.diff(np.r_[tier.first_member, len(tier.source)])
        rows.append(np.repeat(np.repeat(tier.genes, inputs), members))
        columns.append(tier.source)
    where = (np.concatenate(rows), np.concatenate(columns))
    for _ in range(NEWTON_STEPS):
        fault, slopes = basal - log_g1, []
        for tier in tiers:
            bound, total = _bound(tier, log_g1, activity)
            w = network.openness[tier.genes, None]
            odds = w * np.exp(total)
            fault[tier.genes] += total + np.log1p(w) - np.log1p(odds)
            slope = tier.gain * tier.hill * bound * (1 - bound) / (1 + tier.gain * bound)
            inputs = np.diff(np.r_[tier.first_input, len(tier.hill)])
            slope = slope[:, 0] * np.repeat(1 / (1 + odds[:, 0]), inputs)
            slopes.append(np.repeat(slope, np.diff(np.r_[tier.first_member, len(tier.source)])))
        if np.abs(fault).max() < TOLERANCE:
            return log_g1[:, 0]
        size = network.n_genes
        jacobian = sparse.csc_array((np.concatenate(slopes), where), shape=(size, size))
        step = spsolve(sparse.eye_array(size, format="csc") - jacobian, fault[:, 0])
        log_g1 = log_g1 + (step * min(1.0, LONGEST_STEP / np.abs(step).max()))[:, None]
    message = (
        f"a condition had not settled after {SWEEPS} sweeps and {NEWTON_STEPS} steps of Newton's "
        "method; the feedback is too strong for a steady state: lower network.feedback, "
        "network.fold or network.hill"
    )
    raise DivergedError(message)
