"""Overlap of the differentially expressed genes with the largest fold changes."""

from functools import partial

import numpy as np

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import CellsPair, DETable


def membership(size_g: np.ndarray, k: int) -> np.ndarray:
    """Share of each gene in the k largest; the tied share the last places."""
    if k >= len(size_g):
        return np.ones(len(size_g))
    threshold = np.partition(size_g, -k)[-k]
    above, tied = size_g > threshold, size_g == threshold
    return above + tied * ((k - above.sum()) / tied.sum())


def first_k(size_g: np.ndarray, k: int) -> np.ndarray:
    """Membership by descending size, the tied in the order of the genes."""
    member = np.zeros(len(size_g))
    member[np.argsort(-size_g, kind="stable")[:k]] = 1
    return member


def overlap(pair: CellsPair, k: int | None, *, precision: bool = False) -> np.ndarray:
    """Share of the k strongest significant genes of one side that are among those of the other.

    k is at most the number of significant genes of the measured side (of the predicted side for
    precision); without any of them the score is 0.
    """
    rank = first_k if pair.compat else membership
    scores = np.zeros(len(pair.perturbations))
    sides = [_strength(pair.truth_de), _strength(pair.predicted_de)]
    for p in range(len(scores)):
        genes = [np.flatnonzero(side[p] >= 0) for side in sides]
        n = len(genes[1 if precision else 0])
        at_most = n if k is None else min(k, n)
        if not at_most:
            continue
        members = np.zeros((2, len(pair.genes)))
        for i, side in enumerate(sides):
            members[i, genes[i]] = rank(side[p, genes[i]], at_most)
        scores[p] = members.min(0).sum() / at_most
    return scores


def _strength(table: DETable) -> np.ndarray:
    """Absolute fold change of significant genes, -1 for the others."""
    return np.where(table.significant_pg, np.abs(table.lfc_pg), np.float32(-1))


def _card(k: int | None, *, precision: bool) -> CellsCard:
    kind, size = ("precision" if precision else "overlap"), ("N" if k is None else str(k))
    side = "predicted" if precision else "measured"
    profiles = {"full"}
    if k is None:
        profiles |= {"minimal"} if precision else {"minimal", "vcc"}
    return CellsCard(
        name=f"{kind}_at_{size}",
        summary=(
            f"share of the {'' if k is None else f'{k} '}strongest significant {side} genes found "
            "on the other side"
        ),
        source=(
            f"cell-eval 0.8.2 `{kind}_at_{size}`, by absolute log2 fold change at FDR 0.05; here "
            "the tied share the last places"
        ),
        fn=partial(overlap, k=k, precision=precision),
        better="higher",
        best=1.0,
        bounds=(0.0, 1.0),
        profiles=frozenset(profiles),
        ceiling="correlation",
    )


overlap_at_n = _card(None, precision=False)
overlap_at_50 = _card(50, precision=False)
overlap_at_100 = _card(100, precision=False)
overlap_at_200 = _card(200, precision=False)
overlap_at_500 = _card(500, precision=False)
precision_at_n = _card(None, precision=True)
precision_at_50 = _card(50, precision=True)
precision_at_100 = _card(100, precision=True)
precision_at_200 = _card(200, precision=True)
precision_at_500 = _card(500, precision=True)
