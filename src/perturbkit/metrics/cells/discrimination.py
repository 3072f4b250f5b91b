"""Perturbation discrimination of predicted cells: is the own mean change the nearest?"""

from functools import partial

import numpy as np

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import CellsPair
from perturbkit.metrics.discrimination import Distance, distances, mid_rank_score


def discrimination(pair: CellsPair, kind: Distance) -> np.ndarray:
    """Rank of the own measured change by distance from the predicted one, own target left out.

    By our rules 1 - rank / (n - 1) with ties at mid-rank; by cell-eval's 1 - rank / n with ties in
    the order of the names.
    """
    distance = distances(pair.predicted_delta_pg, pair.truth_delta_pg, kind, list(pair.targets))
    own = np.arange(len(distance))
    if not pair.compat:
        return mid_rank_score(distance, own)
    rank = (np.argsort(distance, axis=1, kind="stable") == own[:, None]).argmax(1)
    return 1 - rank / len(distance)


def _card(kind: Distance, words: str) -> CellsCard:
    return CellsCard(
        name=f"discrimination_score_{kind}",
        summary=f"share of other perturbations farther from the prediction, {words}",
        source=(
            f"cell-eval 0.8.2 `discrimination_score_{kind}`; here 1 - rank/(n-1), so that random "
            "scores 0.5 and worst 0, with ties at mid-rank"
        ),
        fn=partial(discrimination, kind=kind),
        better="higher",
        best=1.0,
        bounds=(0.0, 1.0),
        profiles=frozenset({"full", "minimal", "vcc"} if kind == "l1" else {"full"}),
        undefined="there is no other perturbation to tell it from",
        ceiling="correlation",
    )


l1 = _card("l1", "by mean absolute difference")
l2 = _card("l2", "by Euclidean distance")
cosine = _card("cosine", "by cosine of the changes")
