"""PerturBench's aggregations of cells and what STATE watches, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from perturbkit.metrics.cells import CELL_METRICS
from perturbkit.metrics.cells.align import align_cells
from perturbkit.metrics.cells.pair import CellsPair
from perturbkit.metrics.cells.perturbench import aggregated
from perturbkit.metrics.cells.run import profile_cards, score_cells


@pytest.fixture(scope="module")
def pair(small_pair) -> CellsPair:
    return align_cells(*small_pair).pairs["default"]


def dense(pair: CellsPair, p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth, predicted = (s.x_ng.toarray().astype(float) for s in (pair.truth, pair.predicted))
    return truth[pair.truth.rows(p)], predicted[pair.predicted.rows(p)], truth[pair.truth.rows(0)]


def test_the_profiles_hold_them() -> None:
    names = {c.name for c in profile_cards("perturbench")}
    expected = {
        f"{k}_{a}" for k in ("cosine", "pearson", "rmse") for a in ("scores", "logp", "var")
    }
    assert names == expected
    assert len(profile_cards("state")) == 3


def test_scores_are_the_z_of_a_rank_sum(pair) -> None:
    truth, predicted = aggregated(pair, "scores")
    x, y, control = dense(pair, 4)
    for side, cells in ((truth, x), (predicted, y)):
        found = stats.mannwhitneyu(cells, control, method="asymptotic", use_continuity=False)
        z = np.sign(found.statistic - len(cells) * len(control) / 2) * stats.norm.isf(
            found.pvalue / 2
        )
        np.testing.assert_allclose(side[3], np.nan_to_num(z), atol=1e-5)


def test_log_p_and_variance(pair) -> None:
    x, y, control = dense(pair, 4)
    p_value = stats.mannwhitneyu(x, control, method="asymptotic").pvalue
    np.testing.assert_allclose(aggregated(pair, "logp")[0][3], -np.log10(p_value), rtol=1e-9)
    for side, cells in zip(aggregated(pair, "var"), (x, y), strict=True):
        np.testing.assert_allclose(side[3], cells.var(0, ddof=1, dtype=float), atol=1e-6)


def test_the_mean_change_of_all_cells_is_one_correlation(pair) -> None:
    card = CELL_METRICS["pearson_delta_all_cells"]
    assert card.pool is not None
    sides = []
    for cells in (pair.truth, pair.predicted):
        x = cells.x_ng.toarray()[cells.code_n > 0].astype(float)
        sides.append(x.mean(0) - pair.truth_control_g)
    expected = np.corrcoef(*sides)[0, 1]
    assert card.pool(card.fn(pair)) == pytest.approx(expected, rel=1e-6)


def test_the_opposite_prediction_ranks_last_where_absolute_changes_would_call_it_first(
    small_pair,
) -> None:
    pair = align_cells(*small_pair).pairs["default"]
    pair.__dict__["predicted_delta_pg"] = -pair.truth_delta_pg
    score = CELL_METRICS["perturbation_ranking_score"].fn(pair)
    assert score.mean() > 0.9
    size = np.abs(pair.truth_delta_pg)
    absolute = size @ size.T / np.linalg.norm(size, axis=1) / np.linalg.norm(size, axis=1)[:, None]
    assert (absolute.argmax(1) == np.arange(len(size))).all(), "the original is satisfied"


def test_they_come_with_interval_baseline_and_ceiling(small_pair) -> None:
    cards = [*profile_cards("perturbench"), *profile_cards("state")]
    scores = score_cells(*small_pair, metrics=cards, rng=np.random.default_rng(0), n_bootstrap=20)
    assert scores.complete
    rows = {r["metric"]: r for r in scores.table.iter_rows(named=True)}
    assert rows["perturbation_ranking_score"]["baseline"] == pytest.approx(0.5)
    assert rows["pearson_scores"]["ceiling"] > rows["pearson_scores"]["baseline"]
