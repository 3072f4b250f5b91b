"""The six scores of the Virtual Cell Challenge 2026, from raw counts."""

from typing import Any

import numpy as np

from perturbkit.data.false_discovery import benjamini_hochberg_by_row
from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.counts import bulk_noise, bulk_profiles, mean_cpm
from perturbkit.metrics.cells.pair import EPSILON, FDR, CellsPair, de_table
from perturbkit.metrics.discrimination import distances, mid_rank_score

MIN_CPM = 5.0
"""Genes at or below it in the measured control are not tested."""
PURITY = 0.9
"""Share of right signs a prefix must have to count."""
MIN_GENES = 10
"""Fewer significant genes measured: the fold changes are not scored."""


class Tables:
    """Fold changes and significance of both sides over the genes tested, [p, tested].

    Both sides are compared with the measured control, whose mean alone decides which genes are
    tested. `counts` says which entries count: all but those of a perturbation's own targets.
    """

    def __init__(self, pair: CellsPair) -> None:
        control = mean_cpm(pair.truth)[0]
        self.tested = np.flatnonzero(control > MIN_CPM)
        self.counts = np.ones((len(pair.perturbations), len(pair.genes)), bool)
        for p, target in enumerate(pair.targets):
            self.counts[p, target] = False
        self.counts = self.counts[:, self.tested]
        self.lfc, self.p_value, self.significant = [], [], []
        # the predicted control plays no part, whatever the rules
        predicted = de_table(pair.predicted, pair.truth, EPSILON) if pair.compat else None
        for cells, de in ((pair.truth, pair.truth_de), (pair.predicted, predicted)):
            table = pair.predicted_de if de is None else de
            p_value = table.p_value_pg[:, self.tested]
            ratio = (mean_cpm(cells)[cells.group_p] + EPSILON) / (control + EPSILON)
            self.lfc.append(np.log2(ratio[:, self.tested]))
            self.p_value.append(p_value)
            self.significant.append((benjamini_hochberg_by_row(p_value) < FDR) & self.counts)
        self.right = (self.lfc[0] != 0) & (np.sign(self.lfc[0]) == np.sign(self.lfc[1]))

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
    truth, predicted = (bulk_profiles(side)[:, kept] for side in (pair.truth, pair.predicted))
    change = truth[pair.truth.group_p] - truth[0]
    offered = predicted[pair.predicted.group_p] - truth[0]
    nothing = [np.zeros(0, np.int64)] * len(change)
    distance = distances(offered, change, "cosine", nothing)
    return mid_rank_score(distance, np.arange(len(change)))


def squared_parts(pair: CellsPair) -> np.ndarray:
    """Squared error and squared effect of each perturbation, each less its noise, [p, 2].

    Means over the genes other than the perturbation's own targets. A prediction's noise counts up
    to the measured one's, and all predictions together up to what they differ from each other:
    spread between cells that leaves the bulk as it is buys nothing.
    """
    truth, predicted = bulk_profiles(pair.truth), bulk_profiles(pair.predicted)
    control, control_noise = truth[0], bulk_noise(pair.truth)[0]
    truth, predicted = truth[pair.truth.group_p], predicted[pair.predicted.group_p]
    measured = bulk_noise(pair.truth)[pair.truth.group_p]
    offered = np.minimum(bulk_noise(pair.predicted)[pair.predicted.group_p], measured)
    counts = np.ones(truth.shape, bool)
    for p, target in enumerate(pair.targets):
        counts[p, target] = False
    n_genes = np.maximum(counts.sum(1), 1)
    claim = float((offered / n_genes).sum())
    if claim > 0:
        offered = offered * min(1.0, _spread(predicted, counts, 1 / n_genes) / claim)
    error = (np.square(predicted - truth) * counts).sum(1) - offered - measured
    effect = (np.square(truth - control) * counts).sum(1) - measured - control_noise
    return np.stack([error, effect], 1) / n_genes[:, None]


def _spread(x_pg: np.ndarray, counts_pg: np.ndarray, weight_p: np.ndarray) -> float:
    """Weighted sum of squared deviations from the mean over perturbations, all genes together."""
    weight = counts_pg * weight_p[:, None]
    total = weight.sum(0)
    usable = counts_pg.sum(0) >= 2
    x, weight, total = x_pg[:, usable], weight[:, usable], total[usable]
    centre = (weight * x).sum(0) / total
    return float((weight * np.square(x - centre)).sum())


def error_over_effect(parts_pk: np.ndarray) -> float:
    """Summed error over summed effect; below 0 where the noise was estimated too high."""
    total = np.nansum(parts_pk, 0)
    return float(total[0] / total[1]) if total[1] > 0 else float("nan")


def direction_fidelity_yield(pair: CellsPair) -> np.ndarray:
    """Genes called significant with the right sign, over those called or those measured."""
    tables = Tables.of(pair)
    called = tables.significant[1] & (tables.lfc[0] != 0)
    n = np.maximum(tables.significant[0].sum(1), called.sum(1))
    right = (called & tables.right).sum(1)
    return np.divide(right, n, out=np.full(len(n), np.nan), where=n > 0)


def direction_reach(pair: CellsPair) -> np.ndarray:
    """How deep into the measured significant genes, most confident first, signs stay right."""
    tables = Tables.of(pair)
    scores = np.full(len(pair.perturbations), np.nan)
    names = np.argsort(np.argsort(np.array(list(pair.genes))[tables.tested]))
    for p, real in enumerate(tables.significant[0]):
        genes = np.flatnonzero(real)
        if not len(genes):
            continue
        # equal p-values in the order of fold change, and then of names, as cell-eval2 has it
        size = np.abs(tables.lfc[1][p, genes])
        order = genes[np.lexsort((names[genes], -size, tables.p_value[1][p, genes]))]
        order = order[tables.lfc[0][p, order] != 0]
        depth = np.arange(1, len(order) + 1)
        deep = np.flatnonzero(np.cumsum(tables.right[p, order]) / depth >= PURITY)
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


def _card(name: str, summary: str, fn: Any, theirs: str, **options: Any) -> CellsCard:
    given = {"better": "higher", "best": 1.0, "bounds": (0.0, 1.0)} | options
    return CellsCard(
        name=name, summary=summary, fn=fn, takes="counts", profiles=frozenset({"vcc2026"}),
        source=f"Virtual Cell Challenge 2026 (cell-eval2 0.20.0 `{theirs}`)", **given,
    )  # fmt: skip


_NONE = "no gene changes significantly"
vcc26_pds_cosine = _card(
    "pds_cosine", "rank of the own measured change by cosine, all targets left out", pds_cosine,
    "pds_cosine", undefined="there is no other perturbation to tell it from",
    ceiling="correlation",
)  # fmt: skip
vcc26_expr_mse = _card(
    "expr_mse_norm", "squared error over squared effect, both less their noise; 1 is no change",
    squared_parts, "expr_mse_unbiased_capped_norm", pool=error_over_effect, better="lower",
    best=0.0, bounds=(-np.inf, np.inf), undefined="no effect stands out of the noise",
)  # fmt: skip
vcc26_direction_fidelity = _card(
    "direction_fidelity_yield", "significant genes right in sign, over measured or predicted ones",
    direction_fidelity_yield, "de_wilcoxon_direction_fidelity_yield_raw", undefined=_NONE,
)  # fmt: skip
vcc26_direction_reach = _card(
    "direction_reach", "share of measured significant genes reached at 90 % right signs",
    direction_reach, "de_wilcoxon_direction_reach_raw", undefined=_NONE,
)  # fmt: skip
vcc26_sig_jaccard = _card("sig_jaccard", "shared over all significant genes", significant_jaccard,
                          "de_wilcoxon_sig_jaccard")  # fmt: skip
vcc26_lfc_nmae = _card(
    "lfc_nmae", "error of fold changes relative to their size", lfc_error,
    "de_wilcoxon_lfc_nmae", better="lower", best=0.0, bounds=(0.0, np.inf),
    undefined=f"fewer than {MIN_GENES} genes change significantly",
)  # fmt: skip
