"""How well predicted significance ranks the measured significant genes."""

import numpy as np

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import CellsPair

FLOOR = 1e-10
"""False discovery rates below it tie."""


def curve(label_g: np.ndarray, score_g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of true and of false positives at each threshold, from the highest score down."""
    order = np.argsort(-score_g, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score_g[order])), len(order) - 1)
    true = np.cumsum(label_g[order])[last]
    return true.astype(np.float64), (last + 1 - true).astype(np.float64)


def average_precision(label_g: np.ndarray, score_g: np.ndarray) -> float:
    """Area under precision over recall, by steps; the tied count together."""
    true, false = curve(label_g, score_g)
    recall = true / true[-1]
    return float((np.diff(recall, prepend=0) * true / (true + false)).sum())


def roc_area(label_g: np.ndarray, score_g: np.ndarray) -> float:
    """Probability that a positive scores above a negative; ties count half."""
    true, false = (np.append(0, x) for x in curve(label_g, score_g))
    return float((np.diff(false) * (true[1:] + true[:-1])).sum() / (2 * true[-1] * false[-1]))


def areas(pair: CellsPair) -> np.ndarray:
    """Both areas of each perturbation [p, 2]; NaN unless some genes change and some do not."""
    if "areas" not in pair.cache:
        result = np.full((len(pair.perturbations), 2), np.nan)
        score = -np.log10(np.clip(pair.predicted_de.fdr_pg, np.float32(FLOOR), np.float32(1)))
        for p, label in enumerate(pair.truth_de.significant_pg):
            if 0 < label.sum() < len(label):
                result[p] = average_precision(label, score[p]), roc_area(label, score[p])
        pair.cache["areas"] = result
    return pair.cache["areas"]


def precision_recall(pair: CellsPair) -> np.ndarray:
    """Average precision of each perturbation; the share of significant genes at random."""
    return areas(pair)[:, 0]


def receiver_operating(pair: CellsPair) -> np.ndarray:
    """Area under the ROC curve of each perturbation; 0.5 at random."""
    return areas(pair)[:, 1]


_ONE_CLASS = "none or all of the measured genes change significantly"
pr_auc = CellsCard(
    name="pr_auc",
    summary="average precision of predicted significance for measured significance",
    source="cell-eval 0.8.2 (sklearn.metrics.average_precision_score)",
    fn=precision_recall, better="higher", best=1.0, bounds=(0.0, 1.0), undefined=_ONE_CLASS,
    ceiling="correlation",
)  # fmt: skip
roc_auc = CellsCard(
    name="roc_auc",
    summary="area under the ROC curve of predicted significance for measured significance",
    source="cell-eval 0.8.2 (sklearn.metrics.roc_auc_score)",
    fn=receiver_operating, better="higher", best=1.0, bounds=(0.0, 1.0), undefined=_ONE_CLASS,
    ceiling="correlation",
)  # fmt: skip
