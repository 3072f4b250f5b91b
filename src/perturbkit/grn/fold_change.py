"""Log fold changes of counts: ratios of weighted sums, the most that shallow cells can tell."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

N_DEPTHS = 48
"""Groups of cells of like depth that share their weights."""
OWN_DF = 20.0
"""Weight of the controls' overdispersion against a group's own, in cells."""
FACTOR_DF = 100.0
"""Weight of the shared overdispersion against each readout's own, in control cells."""


@dataclass(frozen=True, eq=False)
class CountModel:
    """Negative binomial with the depth of each cell known; what the controls say of it."""

    weighted_ng: Any
    """counts divided by 1 + a mu s, sparse"""
    size_nb: sparse.csr_array
    """depth of each cell relative to the mean control, in the column of its depth group"""
    expected_bg: np.ndarray
    """weighted counts expected of a control cell of unit size in each depth group"""
    factor_g: np.ndarray
    """how much the variance exceeds the model's, from the controls"""
    squared_ng: Any
    """squares of `weighted_ng`"""
    crossed_ng: Any
    """`weighted_ng` times the weighted count expected of the cell"""
    expected_square_bg: np.ndarray
    """squared weighted count expected of a control cell of unit size in each depth group"""


def count_model(counts_ng: Any, log_depth_n: np.ndarray, is_control: np.ndarray) -> CountModel:
    """Fit mean and dispersion to the controls and weight every count by its information.

    A count of mean m = mu s has variance m + a m^2, so that 1 / (1 + a m) is its weight. One
    dispersion a is fitted to all readouts by moments; what it misses of a readout's variance
    goes to `factor_g`.
    """
    x = sparse.csr_array(counts_ng, dtype=np.float64)
    size = np.exp(log_depth_n)
    size = size / size[is_control].mean()
    control, s = x[is_control], size[is_control]
    total, squares = control.sum(0), (control * control).sum(0)
    mu = np.asarray(total).ravel() / s.sum()
    spread = np.asarray(squares).ravel() - 2 * mu * (control.T @ s) + mu**2 * (s @ s)
    excess = float((spread - mu * s.sum()).sum())
    dispersion = float(np.clip(excess / max(float((mu**2).sum() * (s @ s)), 1e-12), 0, 5))
    group = _depth_groups(size)
    n_groups = int(group.max()) + 1
    mean_size = np.bincount(group, size) / np.bincount(group)
    weight_bg = 1 / (1 + dispersion * np.outer(mean_size, mu))
    row = np.repeat(group, np.diff(x.indptr))
    weighted = sparse.csr_array((x.data * weight_bg[row, x.indices], x.indices, x.indptr), x.shape)
    expected_bg = weight_bg * mu
    crossed = weighted.data * size[np.repeat(np.arange(len(size)), np.diff(x.indptr))]
    crossed *= expected_bg[row, x.indices]
    size_nb = sparse.csr_array((size, (np.arange(len(size)), group)), shape=(len(size), n_groups))
    rest = spread_of(x, size, mu, weight_bg[group], np.flatnonzero(is_control)[:3000])
    shared = float(np.median(rest[mu > 0.01])) if (mu > 0.01).any() else 1.0
    n = min(int(is_control.sum()), 3000)
    factor = (n * rest + FACTOR_DF * shared) / (n + FACTOR_DF)
    return CountModel(
        weighted, size_nb, expected_bg, np.maximum(factor, 0.5), weighted * weighted,
        sparse.csr_array((crossed, x.indices, x.indptr), x.shape), expected_bg**2,
    )  # fmt: skip


def spread_of(
    x_ng: Any, size_n: np.ndarray, mu_g: np.ndarray, weight_ng: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Return the weighted variance of some cells over the one the model expects, by readout."""
    x = x_ng[rows].toarray()
    weight, mean = weight_ng[rows], np.outer(size_n[rows], mu_g)
    found = ((weight * (x - mean)) ** 2).sum(0)
    expected = (weight * mean).sum(0)
    return np.divide(found, expected, out=np.ones(len(mu_g)), where=expected > 1)


def _depth_groups(size_n: np.ndarray) -> np.ndarray:
    edges = np.quantile(size_n, np.linspace(0, 1, N_DEPTHS + 1)[1:-1])
    return np.unique(np.searchsorted(edges, size_n), return_inverse=True)[1]


def sums_of(model: CountModel, member_sn: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return observed and expected weighted counts of groups of cells, [s, g] each."""
    observed = (member_sn @ model.weighted_ng).toarray()
    return observed, (member_sn @ model.size_nb).toarray() @ model.expected_bg


def own_factor(
    model: CountModel, member_sn: Any, expected_sg: np.ndarray, ratio_sg: np.ndarray
) -> np.ndarray:
    """Return how much the variance of each group exceeds the model's, [s, g].

    A few cells full of a transcript, or one odd guide, make a group vary more than its counts
    say; its own squared residuals are averaged with the controls' factor, never below it.

    Args:
        model: the count model.
        member_sn: ones where a cell belongs to a group.
        expected_sg: weighted counts expected of each group without change.
        ratio_sg: observed over expected.
    """
    sizes = (member_sn @ (model.size_nb * model.size_nb)).toarray()
    residual = (
        (member_sn @ model.squared_ng).toarray()
        - 2 * ratio_sg * (member_sn @ model.crossed_ng).toarray()
        + ratio_sg**2 * (sizes @ model.expected_square_bg)
    )
    n = np.asarray(member_sn.sum(1)).reshape(-1, 1)
    due = np.maximum(expected_sg * ratio_sg, 1.0)
    own = (OWN_DF * model.factor_g + n * np.maximum(residual, 0) / due) / (OWN_DF + n)
    return np.maximum(own, model.factor_g)
