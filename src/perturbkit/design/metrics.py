"""What a design is judged by: hits over random, discovery area, experiments saved, hierarchy."""

import numpy as np


def efficiency(hits: int | float, n_chosen: int, n_pool: int, n_hits: int) -> float:
    """Return hits over what as many random conditions would find; 1 is chance."""
    return float(hits) / (n_chosen * n_hits / n_pool)


def curve_area(hits_b: np.ndarray, n_pool: int, n_hits: int) -> float:
    """Return the area under the discovery curve, 0 for chance and 1 for knowing every hit.

    Args:
        hits_b: cumulative hits after each experiment.
        n_pool: conditions in the pool.
        n_hits: hits among them.
    """
    b = np.arange(1, len(hits_b) + 1)
    chance, oracle = b * n_hits / n_pool, np.minimum(b, n_hits)
    return float((hits_b - chance).sum() / (oracle - chance).sum())


def saved(hits_b: np.ndarray, target: float) -> float:
    """Return the share of the budget not needed to reach `target` hits; negative if never.

    With `target` the expected hits of chance at the full budget: 0.4 says that 40 % fewer
    experiments find as much as chance. A policy that never gets there is extrapolated linearly.
    """
    reached = np.flatnonzero(hits_b >= target)
    if len(reached):
        return 1 - (int(reached[0]) + 1) / len(hits_b)
    return 1 - target / max(float(hits_b[-1]), 1e-9)


def regret(hits_b: np.ndarray, n_hits: int) -> int:
    """Return how many hits fewer than the best possible choice of as many conditions."""
    return int(min(len(hits_b), n_hits) - hits_b[-1])


def paired_interval(
    chosen_sk: np.ndarray,
    other_sk: np.ndarray | None,
    hit_c: np.ndarray,
    rng: np.random.Generator,
    n_draws: int,
) -> tuple[float, float]:
    """Return the 95 % interval of hits, or of the difference in hits to another policy.

    Seeds are drawn with replacement and every condition of the pool counts as often as a Poisson
    draw says, the same for both policies, so that what they share cancels.

    Args:
        chosen_sk: positions chosen, a row for each seed.
        other_sk: those of the other policy, same seeds.
        hit_c: bool, which are hits.
        rng: source of randomness.
        n_draws: bootstrap draws.
    """
    # only hits that some seed of either policy found matter: seeds by found hits, 0 or 1
    found = _found(chosen_sk, hit_c)
    if other_sk is not None:
        found = found - _found(other_sk, hit_c)
    n_seeds, n_hits = found.shape
    share = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_draws) / n_seeds
    weight = rng.poisson(1.0, (n_draws, n_hits))
    draws = ((share @ found) * weight).sum(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _found(chosen_sk: np.ndarray, hit_c: np.ndarray) -> np.ndarray:
    order = np.cumsum(hit_c) - 1
    found = np.zeros((len(chosen_sk), int(hit_c.sum())))
    for s, row in enumerate(chosen_sk):
        found[s, order[row[hit_c[row]]]] = 1
    return found


def ancestor_concordance(level_g: np.ndarray, ancestor_gg: np.ndarray) -> float:
    """Return P[level(u) < level(v) | u is an ancestor of v]; chance is 0.5, ties count half.

    Args:
        level_g: inferred level, smaller is higher up.
        ancestor_gg: bool, whether the row is an ancestor of the column and not the reverse.
    """
    up, down = np.nonzero(ancestor_gg & ~ancestor_gg.T)
    if not len(up):
        return float("nan")
    gap = level_g[down] - level_g[up]
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))


def trophic_depth(ancestor_gg: np.ndarray) -> np.ndarray:
    """Return the length of the longest chain of ancestors above each gene, loops counted once."""
    above = ancestor_gg & ~ancestor_gg.T
    order = np.argsort(above.sum(0), kind="stable")
    depth = np.zeros(len(above))
    for gene in order:
        over = np.flatnonzero(above[:, gene])
        depth[gene] = 1 + depth[over].max() if len(over) else 0
    return depth


def level_tau(level_g: np.ndarray, ancestor_gg: np.ndarray) -> float:
    """Return Kendall's tau-b of inferred levels with the true depth; 0 for chance, 1 for order.

    Args:
        level_g: inferred level, smaller is higher up.
        ancestor_gg: bool, whether the row is an ancestor of the column.
    """
    from scipy.stats import kendalltau

    return float(kendalltau(level_g, trophic_depth(ancestor_gg)).statistic)


def average_precision(score_e: np.ndarray, true_e: np.ndarray) -> float:
    """Return the area under the precision-recall curve (step-wise), ties taken in blocks."""
    order = np.argsort(-score_e, kind="stable")
    truth, score = true_e[order].astype(float), score_e[order]
    ends = np.flatnonzero(np.r_[np.diff(score) != 0, True])
    hits = np.cumsum(truth)[ends]
    precision = hits / (ends + 1)
    return float((np.diff(np.r_[0, hits]) * precision).sum() / max(truth.sum(), 1))
