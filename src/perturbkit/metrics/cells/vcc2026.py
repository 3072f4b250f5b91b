"""The six scores of the Virtual Cell Challenge 2026, on log-normalized cells."""

from functools import partial
from typing import Any

import numpy as np

from perturbkit.data.ranksum import benjamini_hochberg
from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import FDR, Cells, CellsPair
from perturbkit.metrics.discrimination import distances, mid_rank_score

TOTAL = 5e4
"""A bulk profile is log1p of this total's share of each gene."""
MIN_CPM = 5.0
"""Genes below it in the control are not tested."""
EPSILON = 1e-9
PURITY = 0.9
"""Share of right signs a prefix must have to count."""
MIN_GENES = 10
"""Fewer significant genes measured: the fold changes are not scored."""


def bulk_profiles(cells: Cells) -> np.ndarray:
    """Log bulk profile of each group, the control's first, from undone logs, float64 [k, g]."""
    if "bulk2026" not in cells.cache:
        mean = _natural(cells).mean_kg
        cells.cache["bulk2026"] = mean / np.maximum(mean.sum(1, keepdims=True), EPSILON)
    return cells.cache["bulk2026"]


def _natural(cells: Cells) -> Cells:
    """The same cells with their log undone."""
    matrix = cells.x_ng.copy()
    matrix.data = np.expm1(matrix.data)
    return Cells(matrix, cells.code_n, cells.group_p)


class Tables:
    """Fold changes and significance of both sides over the genes tested."""

    def __init__(self, pair: CellsPair) -> None:
        truth, predicted = bulk_profiles(pair.truth), bulk_profiles(pair.predicted)
        control = truth[0] * 1e6
        tested = control > MIN_CPM
        self.lfc, self.p_value, self.significant = [], [], []
        for side, cells, table in (
            (truth, pair.truth, pair.truth_de), (predicted, pair.predicted, pair.predicted_de)
        ):  # fmt: skip
            ratio = (side[cells.group_p] * 1e6 + EPSILON) / (control + EPSILON)
            p_value = table.p_value_pg[:, tested]
            self.lfc.append(np.log2(ratio[:, tested]))
            self.p_value.append(p_value)
            self.significant.append(benjamini_hochberg(p_value) < FDR)

    @classmethod
    def of(cls, pair: CellsPair) -> "Tables":
        """Return the tables of a pair, computed once."""
        if "tables2026" not in pair.cache:
            pair.cache["tables2026"] = cls(pair)
        return pair.cache["tables2026"]


def pds_cosine(pair: CellsPair) -> np.ndarray:
    """Rank of the own measured change by cosine, every target of the panel left out."""
    panel = np.unique(np.concatenate([*pair.targets, np.zeros(0, np.int64)])).astype(np.int64)
    kept = np.ones(len(pair.genes), bool)
    kept[panel] = False
    log = [np.log1p(TOTAL * bulk_profiles(s)[:, kept]) for s in (pair.truth, pair.predicted)]
    control = log[0][0]
    truth, predicted = log[0][pair.truth.group_p], log[1][pair.predicted.group_p]
    nothing = [np.zeros(0, np.int64)] * len(truth)
    distance = distances(predicted - control, truth - control, "cosine", nothing)
    return mid_rank_score(distance, np.arange(len(truth)))


def _noise(cells: Cells) -> np.ndarray:
    """Squared standard error of each group's mean log profile, summed over genes."""
    if "noise2026" not in cells.cache:
        square = Cells(cells.x_ng.power(2), cells.code_n, cells.group_p).mean_kg
        n = np.bincount(cells.code_n[cells.code_n >= 0], minlength=cells.n_groups + 1)
        variance = np.maximum(square - np.square(cells.mean_kg), 0).sum(1)
        cells.cache["noise2026"] = variance / np.maximum(n - 1, 1)
    return cells.cache["noise2026"]


def squared_parts(pair: CellsPair) -> np.ndarray:
    """Squared error and squared effect of each perturbation, each less its noise, [p, 2]."""
    error = np.square(pair.predicted.bulk_pg - pair.truth.bulk_pg).sum(1)
    effect = np.square(pair.truth_delta_pg).sum(1)
    measured = _noise(pair.truth)[pair.truth.group_p]
    offered = _noise(pair.predicted)[pair.predicted.group_p]
    noise = np.minimum(measured + offered, 2 * measured)  # a noisy prediction gets no more credit
    return np.stack([error - noise, effect - measured - _noise(pair.truth)[0]], 1)


def error_over_effect(parts_pk: np.ndarray) -> float:
    """Summed error over summed effect, between 0 and 1."""
    total = np.nansum(parts_pk, 0)
    return float(np.clip(total[0] / total[1], 0, 1)) if total[1] > 0 else float("nan")


def direction_fidelity_yield(pair: CellsPair) -> np.ndarray:
    """Significant genes right in sign, over the larger of the numbers measured and predicted."""
    tables = Tables.of(pair)
    both = tables.significant[0] & tables.significant[1]
    right = (both & (np.sign(tables.lfc[0]) == np.sign(tables.lfc[1]))).sum(1)
    n = np.maximum(tables.significant[0].sum(1), tables.significant[1].sum(1))
    return np.divide(right, n, out=np.full(len(n), np.nan), where=n > 0)


def direction_reach(pair: CellsPair) -> np.ndarray:
    """How deep into the measured significant genes, most confident first, signs stay right."""
    tables = Tables.of(pair)
    scores = np.full(len(pair.perturbations), np.nan)
    for p, real in enumerate(tables.significant[0]):
        genes = np.flatnonzero(real)
        if not len(genes):
            continue
        # equal p-values in the order of fold change
        order = np.lexsort((-np.abs(tables.lfc[1][p, genes]), tables.p_value[1][p, genes]))
        right = np.sign(tables.lfc[0][p, genes]) == np.sign(tables.lfc[1][p, genes])
        purity = np.cumsum(right[order]) / np.arange(1, len(genes) + 1)
        deep = np.flatnonzero(purity >= PURITY)
        scores[p] = (deep[-1] + 1) / len(genes) if len(deep) else 0.0
    return scores


def significant_jaccard(pair: CellsPair) -> np.ndarray:
    """Shared over all significant genes; 1 where neither side has any."""
    tables = Tables.of(pair)
    union = (tables.significant[0] | tables.significant[1]).sum(1)
    shared = (tables.significant[0] & tables.significant[1]).sum(1)
    return np.divide(shared, union, out=np.ones(len(union)), where=union > 0)


def lfc_error(pair: CellsPair) -> np.ndarray:
    """Absolute error of fold changes relative to their size, over measured significant genes."""
    tables = Tables.of(pair)
    real = tables.significant[0]
    error = (np.abs(tables.lfc[1] - tables.lfc[0]) * real).sum(1)
    size = (np.abs(tables.lfc[0]) * real).sum(1)
    enough = (real.sum(1) >= MIN_GENES) & (size > 0)
    return np.divide(error, size, out=np.full(len(size), np.nan), where=enough)


_SOURCE = (
    "Virtual Cell Challenge 2026 (cell-eval2), from its description; on log-normalized cells where "
    "the challenge has counts"
)


def _card(name: str, summary: str, fn: Any, **options: Any) -> CellsCard:
    given = {"better": "higher", "best": 1.0, "bounds": (0.0, 1.0), "source": _SOURCE} | options
    return CellsCard(name=name, summary=summary, fn=fn, profiles=frozenset({"vcc2026"}), **given)


_NONE = "no gene changes significantly"
vcc26_pds_cosine = _card(
    "pds_cosine", "rank of the own measured change by cosine, all targets left out", pds_cosine,
    undefined="there is no other perturbation to tell it from", ceiling="correlation",
)  # fmt: skip
vcc26_expr_mse = _card(
    "expr_mse_norm", "squared error over squared effect, both less their noise", squared_parts,
    pool=error_over_effect, better="lower", best=0.0, undefined="no effect stands out of the noise",
    source=_SOURCE + "; noise by the standard error of the mean, not by its delete-one jackknife",
)  # fmt: skip
vcc26_direction_fidelity = _card(
    "direction_fidelity_yield", "significant genes right in sign, over measured or predicted ones",
    direction_fidelity_yield, undefined=_NONE,
)  # fmt: skip
vcc26_direction_reach = _card(
    "direction_reach", "share of measured significant genes reached at 90 % right signs",
    direction_reach, undefined=_NONE,
)  # fmt: skip
vcc26_sig_jaccard = _card("sig_jaccard", "shared over all significant genes", significant_jaccard)
vcc26_lfc_nmae = _card(
    "lfc_nmae", "error of fold changes relative to their size", partial(lfc_error),
    better="lower", best=0.0, bounds=(0.0, np.inf),
    undefined=f"fewer than {MIN_GENES} genes change significantly",
)  # fmt: skip
