"""Agreement on which genes are differentially expressed, how many, and in which direction."""

import numpy as np

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import CellsPair
from perturbkit.metrics.pearson import pearson_rows


def mid_ranks(x_p: np.ndarray) -> np.ndarray:
    """Rank of each value; the tied share the mean of their ranks."""
    _, group, n = np.unique(x_p, return_inverse=True, return_counts=True)
    return (np.cumsum(n) - (n - 1) / 2)[group]


def spearman(parts_pk: np.ndarray) -> float:
    """Rank correlation of two columns; NaN where one is constant or there are fewer than two."""
    if len(parts_pk) < 2:
        return float("nan")
    ranks = np.stack([mid_ranks(column) for column in parts_pk.T], 1)
    r = pearson_rows(ranks[:, 0][None], ranks[:, 1][None])[0]
    return float("nan") if np.ptp(ranks[:, 1]) == 0 else float(r)


def share(hit_pg: np.ndarray, among_pg: np.ndarray) -> np.ndarray:
    """Share of hits among the genes that count, of each perturbation; NaN without any."""
    n = among_pg.sum(1)
    hits = (hit_pg & among_pg).sum(1)
    return np.divide(hits, n, out=np.full(len(n), np.nan), where=n > 0)


def direction_match(pair: CellsPair) -> np.ndarray:
    """Share of the measured significant genes whose predicted fold change has the same sign."""
    same = np.sign(pair.truth_de.lfc_pg) == np.sign(pair.predicted_de.lfc_pg)
    return share(same, pair.truth_de.significant_pg)


def significant_recall(pair: CellsPair) -> np.ndarray:
    """Share of the measured significant genes that are significant in the prediction."""
    return share(pair.predicted_de.significant_pg, pair.truth_de.significant_pg)


def lfc_spearman(pair: CellsPair) -> np.ndarray:
    """Rank correlation of fold changes over the measured significant genes."""
    scores = np.full(len(pair.perturbations), np.nan)
    for p, kept in enumerate(pair.truth_de.significant_pg):
        sides = (pair.truth_de.lfc_pg[p, kept], pair.predicted_de.lfc_pg[p, kept])
        scores[p] = spearman(np.stack(sides, 1))
    return scores


def count_real(pair: CellsPair) -> np.ndarray:
    """Number of significant genes measured."""
    return pair.truth_de.significant_pg.sum(1).astype(np.float64)


def count_predicted(pair: CellsPair) -> np.ndarray:
    """Number of significant genes predicted."""
    return pair.predicted_de.significant_pg.sum(1).astype(np.float64)


def counts(pair: CellsPair) -> np.ndarray:
    """Numbers of significant genes [p, 2], NaN for perturbations without a measured one."""
    both = np.stack([count_real(pair), count_predicted(pair)], 1)
    both[both[:, 0] == 0] = np.nan
    return both


def spearman_of_counts(parts_pk: np.ndarray) -> float:
    """Rank correlation over the perturbations with measured significant genes."""
    return spearman(parts_pk[~np.isnan(parts_pk[:, 0])])


_NONE = "no gene changes significantly in the measured cells"
de_direction_match = CellsCard(
    name="de_direction_match",
    summary="share of measured significant genes whose predicted change has the same sign",
    source="cell-eval 0.8.2",
    fn=direction_match, better="higher", best=1.0, bounds=(0.0, 1.0), undefined=_NONE,
    ceiling="correlation",
)  # fmt: skip
de_sig_genes_recall = CellsCard(
    name="de_sig_genes_recall",
    summary="share of measured significant genes that are significant in the prediction",
    source="cell-eval 0.8.2",
    fn=significant_recall, better="higher", best=1.0, bounds=(0.0, 1.0), undefined=_NONE,
    ceiling="correlation",
)  # fmt: skip
de_spearman_lfc_sig = CellsCard(
    name="de_spearman_lfc_sig",
    summary="rank correlation of fold changes over measured significant genes",
    source="cell-eval 0.8.2",
    fn=lfc_spearman, better="higher", best=1.0, bounds=(-1.0, 1.0), ceiling="correlation",
    undefined="fewer than two measured genes change significantly, or none is predicted to differ",
)  # fmt: skip
de_spearman_sig = CellsCard(
    name="de_spearman_sig",
    summary="rank correlation, over perturbations, of the numbers of significant genes",
    source="cell-eval 0.8.2",
    fn=counts, pool=spearman_of_counts, better="higher", best=1.0, bounds=(-1.0, 1.0),
    undefined="the numbers of significant genes do not vary over perturbations",
    ceiling="correlation",
)  # fmt: skip
de_nsig_counts_real = CellsCard(
    name="de_nsig_counts_real",
    summary="number of significant genes measured (counted, not scored)",
    source="cell-eval 0.8.2",
    fn=count_real, better="neither", best=float("nan"), bounds=(0.0, np.inf),
    profiles=frozenset({"full", "minimal"}),
)  # fmt: skip
de_nsig_counts_pred = CellsCard(
    name="de_nsig_counts_pred",
    summary="number of significant genes predicted (counted, not scored)",
    source="cell-eval 0.8.2",
    fn=count_predicted, better="neither", best=float("nan"), bounds=(0.0, np.inf),
    profiles=frozenset({"full", "minimal"}),
)  # fmt: skip
