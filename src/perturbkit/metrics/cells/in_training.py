"""What STATE watches while it trains, by its names, on cells."""

import numpy as np

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import CellsPair
from perturbkit.metrics.discrimination import distances, mid_rank_score
from perturbkit.metrics.pearson import pearson_rows
from perturbkit.metrics.top_k_overlap import top_k_overlap

TOP = 200


def overlap_of_scores(pair: CellsPair) -> np.ndarray:
    """Share of the genes of largest measured score found among those of largest predicted."""
    sides = (table.z_pg.astype(np.float64) for table in (pair.truth_de, pair.predicted_de))
    return top_k_overlap(*sides, k=TOP)


def changes_and_sizes(pair: CellsPair) -> np.ndarray:
    """Mean change of each perturbation and its number of cells, both sides, [p, 2 (g + 1)]."""
    parts = []
    for cells, delta in (
        (pair.truth, pair.truth_delta_pg), (pair.predicted, pair.predicted_delta_pg)
    ):  # fmt: skip
        n_k = np.bincount(cells.code_n[cells.code_n >= 0], minlength=cells.n_groups + 1)
        parts += [delta, n_k[cells.group_p][:, None]]
    return np.concatenate(parts, 1)


def pearson_of_all_cells(parts_pk: np.ndarray) -> float:
    """Correlation over genes of the mean change of all perturbed cells together."""
    half = parts_pk.shape[1] // 2
    means = []
    for side in (parts_pk[:, :half], parts_pk[:, half:]):
        delta, n = side[:, :-1], side[:, -1]
        means.append((n @ delta / n.sum())[None])
    return float(pearson_rows(means[0], means[1])[0])


def rank_of_own(pair: CellsPair) -> np.ndarray:
    """Share of the other perturbations nearer to the prediction than its own, by cosine."""
    nothing = [np.zeros(0, np.int64)] * len(pair.perturbations)
    distance = distances(pair.predicted_delta_pg, pair.truth_delta_pg, "cosine", nothing)
    return 1 - mid_rank_score(distance, np.arange(len(nothing)))


def _card(name: str, **options: object) -> CellsCard:
    return CellsCard(name=name, profiles=frozenset({"state"}), **options)  # pyright: ignore


_SOURCE = "STATE's validation during training, from its description"
gene_overlap_cross_pert = _card(
    "gene_overlap_cross_pert", fn=overlap_of_scores, better="higher", best=1.0,
    summary=f"share of the {TOP} largest rank-sum scores of genes found among the predicted ones",
    source=_SOURCE + "; the original compares measured scores with predicted mean changes, which "
    "truth itself does not satisfy: here scores on both sides, down as well as up",
    bounds=(0.0, 1.0), undefined=f"there are no more than {TOP} genes",
)  # fmt: skip
pearson_delta_all_cells = _card(
    "pearson_delta_all_cells", fn=changes_and_sizes, pool=pearson_of_all_cells, better="higher",
    summary="correlation of the mean change of all perturbed cells together", best=1.0,
    source=_SOURCE + " (compute_pearson_delta); says nothing of single perturbations",
    bounds=(-1.0, 1.0), undefined="the mean change does not vary over genes", ceiling="correlation",
    resample=False,  # fewer distinct perturbations average less noise away
)  # fmt: skip
perturbation_ranking_score = _card(
    "perturbation_ranking_score", fn=rank_of_own, better="lower", best=0.0,
    summary="share of other perturbations nearer to the prediction than its own, by cosine",
    source=_SOURCE + "; of signed changes, where the original takes absolute ones, which the "
    "opposite prediction satisfies; ties at mid-rank",
    bounds=(0.0, 1.0), undefined="there is no other perturbation to tell it from",
)  # fmt: skip
