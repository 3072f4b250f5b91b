"""cell-eval 0.8.2's numbers on the pair it was measured on, by its rules."""

import numpy as np
import pytest

from perturbkit.core.screen import Screen
from perturbkit.metrics.cells.run import CellScores, profile_cards, score_cells

pytestmark = pytest.mark.slow

CELL_EVAL = {
    "overlap_at_N": 0.4278765327442875, "overlap_at_50": 0.5287519839075806,
    "overlap_at_100": 0.46968138575516727, "overlap_at_200": 0.4282281164546947,
    "overlap_at_500": 0.4278765327442875, "precision_at_N": 0.5450644977352519,
    "precision_at_50": 0.5528291647934758, "precision_at_100": 0.5453463757161723,
    "precision_at_200": 0.5450644977352519, "precision_at_500": 0.5450644977352519,
    "de_spearman_sig": 0.944073492954132, "de_direction_match": 0.8938246207743464,
    "de_spearman_lfc_sig": 0.7954486733123468, "de_sig_genes_recall": 0.42894879381654855,
    "de_nsig_counts_real": 86.52, "de_nsig_counts_pred": 52.32,
    "pr_auc": 0.5323725964357571, "roc_auc": 0.8444253426523811,
    "pearson_delta": 0.5360603284090757, "mse": 0.005882434491068125,
    "mae": 0.0503461741283536, "mse_delta": 0.006229891926050186,
    "mae_delta": 0.052194755040109155, "discrimination_score_l1": 0.9999,
    "discrimination_score_l2": 1.0, "discrimination_score_cosine": 1.0,
    "pearson_edistance": 0.980242247346604, "clustering_agreement": 0.007709028738540252,
}  # fmt: skip
"""Mean row of `cell-eval run --profile full`, cell-eval 0.8.2 with pdex 0.3.0."""
BY_OUR_RULES = {"mse", "mae", "de_nsig_counts_real", "clustering_agreement",
                "discrimination_score_l2", "discrimination_score_cosine"}  # fmt: skip
"""What does not depend on whose control is the origin, nor on how ties and ranks are counted."""


@pytest.fixture(scope="module")
def compat(published_pair: tuple[Screen, Screen]) -> CellScores:
    rng = np.random.default_rng(0)
    return score_cells(
        *published_pair, rules="cell-eval", rng=rng, n_bootstrap=50, references=False
    )


def test_every_metric_of_cell_eval_is_here() -> None:
    assert {card.name for card in profile_cards("full")} == set(CELL_EVAL)


@pytest.mark.parametrize("name", CELL_EVAL)
def test_equals_cell_eval(compat: CellScores, name: str) -> None:
    if name == "clustering_agreement":
        pytest.importorskip("igraph", reason="Leiden clusters need igraph")
    value = compat.table.filter(metric=name)["value"].item()
    assert value == pytest.approx(CELL_EVAL[name], abs=1e-6)


def test_our_rules_differ_only_where_stated(published_pair: tuple[Screen, Screen]) -> None:
    """Measured control as origin, mid-ranks, ranks out of n - 1: everything else is the same."""
    chosen = sorted(BY_OUR_RULES - {"clustering_agreement"})
    scores = score_cells(
        *published_pair, metrics=chosen, rng=np.random.default_rng(0), n_bootstrap=10,
        references=False,
    )  # fmt: skip
    for name, value in scores.table.select("metric", "value").rows():
        assert value == pytest.approx(CELL_EVAL[name], abs=1e-6), name
