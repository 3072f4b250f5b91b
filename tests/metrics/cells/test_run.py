"""score_cells(): alignment, refusals, references, nulls, and what each kernel equals."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import metrics as sk

from perturbkit.core.errors import SchemaError, UnitError, UnknownNameError
from perturbkit.core.screen import Screen
from perturbkit.metrics.cells import CELL_METRICS
from perturbkit.metrics.cells.agreement import mid_ranks, spearman
from perturbkit.metrics.cells.align import align_cells
from perturbkit.metrics.cells.auc import average_precision, roc_area
from perturbkit.metrics.cells.clustering import adjusted_mutual_information, fuzzy_graph
from perturbkit.metrics.cells.edistance import energy_distances, float_sums
from perturbkit.metrics.cells.pair import Cells, CellsPair
from perturbkit.metrics.cells.run import halves, mean_baseline, profile_cards, score_cells
from perturbkit.metrics.cells.vcc2026 import Tables

FAST = [n for n in CELL_METRICS if n != "clustering_agreement"]

NEAR = ("mmd_rbf", "energy_distance")
"""In float32 a cell is a little away from itself."""


def pair_of(screens: tuple[Screen, Screen], rules="perturbkit") -> CellsPair:
    return align_cells(*screens, rules).pairs["default"]


def run(truth: Screen, predicted: Screen, metrics=FAST, **options):
    return score_cells(truth, predicted, metrics=metrics, rng=np.random.default_rng(0), **options)


def rebuilt(screen: Screen, x=None, rows=slice(None), genes=slice(None), **obs) -> Screen:
    adata = ad.AnnData(
        (screen.adata.X if x is None else x)[rows][:, genes],
        obs=screen.adata.obs.iloc[rows].assign(**obs), var=screen.adata.var.iloc[genes],
    )  # fmt: skip
    return Screen.of(adata, level="cells", unit=screen.unit)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("rules", ["perturbkit", "cell-eval"])
def test_truth_is_best(small_counts_pair, name, rules) -> None:
    card = CELL_METRICS[name]
    parts = card.fn(pair_of((small_counts_pair[0], small_counts_pair[0]), rules))
    if card.better == "neither":
        assert (parts > 0).all()
        return
    value = np.array([card.pool(parts)]) if card.pool else parts[~np.isnan(parts)]
    if card.better == "lower" and card.bounds[0] < card.best:
        assert (value <= card.best).all(), "noise is taken off where there is none"
        return
    np.testing.assert_allclose(value, card.best, atol=1e-3 if name in NEAR else 1e-6)
    assert len(value) or name == "lfc_nmae", "ten significant genes are too many for 30 cells"


@pytest.mark.parametrize("name", FAST)
def test_bounds_and_order_of_cells_and_genes(small_counts_pair, name) -> None:
    card = CELL_METRICS[name]
    truth, predicted = small_counts_pair
    rng = np.random.default_rng(1)
    order = rng.permutation(predicted.adata.n_obs)
    moved = rebuilt(predicted, rows=order, genes=rng.permutation(predicted.adata.n_vars))
    parts, again = card.fn(pair_of((truth, predicted))), card.fn(pair_of((truth, moved)))
    np.testing.assert_allclose(parts, again, rtol=1e-4, atol=1e-6)
    value = card.pool(parts) if card.pool else np.nanmean(parts)
    assert card.bounds[0] <= value <= card.bounds[1]


def test_energy_distance_equals_its_definition(small_pair) -> None:
    pair = pair_of(small_pair)
    x = pair.truth.x_ng.toarray().astype(float)
    control = x[pair.truth.rows(0)]
    for distinct in (True, False):
        ours, _ = energy_distances(
            pair.truth, pair.truth, pair.truth_control_g, distinct=distinct, within=None
        )
        for p in (0, 5):
            cells = x[pair.truth.rows(p + 1)]

            def mean_within(a: np.ndarray, distinct: bool = distinct) -> float:
                total = cdist(a, a).sum()
                return total / (len(a) * (len(a) - 1) if distinct else len(a) ** 2)

            expected = 2 * cdist(cells, control).mean() - mean_within(cells) - mean_within(control)
            assert ours[p] == pytest.approx(expected, abs=2e-5)


def test_energy_distance_in_blocks_is_the_same(small_pair, monkeypatch) -> None:
    pair = pair_of(small_pair)
    options = {"distinct": True, "within": None}
    whole, _ = energy_distances(pair.truth, pair.truth, pair.truth_control_g, **options)
    monkeypatch.setattr("perturbkit.metrics.cells.edistance.MIN_ROWS", 7)
    monkeypatch.setattr("perturbkit.metrics.cells.edistance.BLOCK", 7 * 320)
    parts, _ = energy_distances(pair.truth, pair.truth, pair.truth_control_g, **options)
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_unbiased_energy_distance_of_the_same_cells_is_near_zero() -> None:
    """Distinct pairs: zero on average for two draws of one distribution; all pairs: above it."""
    rng = np.random.default_rng(0)
    x = sparse.csr_matrix(rng.gamma(1, 1, (400, 50)).astype(np.float32))
    cells = Cells(x, np.arange(400) % 8, np.arange(1, 8))
    zero = np.zeros(50, np.float32)
    unbiased, _ = energy_distances(cells, cells, zero, distinct=True, within=None)
    biased, _ = energy_distances(cells, cells, zero, distinct=False, within=None)
    assert abs(unbiased.mean()) < 0.05
    assert biased.mean() > 0.2


def test_areas_equal_sklearn(rng: np.random.Generator) -> None:
    for levels in (3, 1000):
        label = rng.random(200) < 0.2
        score = rng.integers(0, levels, 200) + 2 * label
        assert average_precision(label, score) == pytest.approx(
            sk.average_precision_score(label, score)
        )
        assert roc_area(label, score) == pytest.approx(sk.roc_auc_score(label, score))


def test_ranks_equal_scipy(rng: np.random.Generator) -> None:
    from scipy import stats

    x = rng.integers(0, 6, (30, 2)).astype(float)
    np.testing.assert_array_equal(mid_ranks(x[:, 0]), stats.rankdata(x[:, 0]))
    assert spearman(x) == pytest.approx(stats.spearmanr(x[:, 0], x[:, 1]).statistic)
    assert np.isnan(spearman(np.ones((4, 2))))


def test_mutual_information_equals_sklearn(rng: np.random.Generator) -> None:
    for _ in range(5):
        a, b = rng.integers(0, 5, 80), rng.integers(0, 3, 80)
        expected = sk.adjusted_mutual_info_score(a, b)
        assert adjusted_mutual_information(a, b) == pytest.approx(expected, abs=1e-12)
    assert adjusted_mutual_information(a, a) == pytest.approx(1)


def test_fuzzy_graph_is_symmetric_and_calibrated(rng: np.random.Generator) -> None:
    weight = fuzzy_graph(rng.normal(size=(40, 6)), 10).toarray()
    np.testing.assert_allclose(weight, weight.T)
    assert ((weight >= 0) & (weight <= 1 + 1e-12)).all()
    assert (weight.max(1) > 0.99).all()


@pytest.fixture(scope="module")
def null() -> Screen:
    """Control cells, most of them labelled at random as 40 perturbations."""
    rng = np.random.default_rng(17)
    rate = rng.gamma(0.6, 3.0, 250)
    x = rng.poisson(rng.gamma(2, rate / 2, (1000, 250))).astype(np.float32)
    names = np.where(np.arange(1000) < 200, "control", [f"p{i % 40}" for i in range(1000)])
    obs = pd.DataFrame({"perturbation": names}, index=[str(i) for i in range(1000)])
    adata = ad.AnnData(sparse.csr_matrix(x), obs=obs)
    return Screen.of(adata, level="cells", unit="counts")


def test_control_against_control_finds_nothing(null) -> None:
    """With no effect anywhere, a false discovery rate of 5 % lets 1 label in 20 have a hit."""
    pair = pair_of((null, null))
    for significant in (pair.truth_de.significant_pg, Tables.of(pair).significant[0]):
        assert significant.any(1).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40)
        assert significant.mean() < 0.001


SIGNIFICANT = [n for n in FAST if n.startswith(("de_", "overlap", "direction"))]


@pytest.mark.parametrize("name", [n for n in SIGNIFICANT if CELL_METRICS[n].pool is None])
def test_metrics_of_significant_genes_say_that_there_are_none(null, name) -> None:
    table = run(null, null, [name], references=False, n_bootstrap=5).perturbations
    nothing = (table["value"] == 0) | (table["value"].is_nan() & (table["reason"] != ""))
    assert nothing.mean() > 0.85


def test_references_stand_beside_every_score(small_counts_pair) -> None:
    scores = run(*small_counts_pair, n_bootstrap=100)
    assert set(scores.table.filter(pl.col("value").is_nan())["metric"]) <= {"lfc_nmae"}
    rows = {r["metric"]: r for r in scores.table.iter_rows(named=True)}
    assert rows["discrimination_score_l2"]["baseline"] == pytest.approx(0.5, abs=0.2)
    assert rows["pearson_delta"]["baseline"] < rows["pearson_delta"]["value"]
    assert rows["pearson_delta"]["ceiling"] > rows["pearson_delta"]["baseline"]
    for row in rows.values():
        assert not row["low"] > row["value"] + 1e-9
        assert not row["high"] < row["value"] - 1e-9


def test_mean_baseline_is_the_same_for_all(small_pair) -> None:
    pair = pair_of(small_pair)
    base = mean_baseline(pair, np.random.default_rng(0))
    assert np.ptp(base.predicted.bulk_pg, axis=0).max() == 0
    assert base.predicted.x_ng.shape[0] == 60 + 30
    error = base.predicted.bulk_pg[0] - pair.truth.bulk_pg.mean(0)
    noise = np.sqrt(np.var(pair.truth.x_ng.toarray(), axis=0) / 30)
    assert np.abs(error / np.maximum(noise, 1e-9)).mean() < 1.2
    theirs = mean_baseline(pair_of(small_pair, "cell-eval"), np.random.default_rng(0))
    np.testing.assert_allclose(theirs.predicted.bulk_pg[0], pair.truth.mean_kg.mean(0), rtol=1e-5)


LABEL_FREE = {
    "pearson_delta_all_cells": "all cells together have no labels to shuffle",
    "de_nsig_counts_real": "it is counted, not scored",
    "de_nsig_counts_pred": "it is counted, not scored",
}


@pytest.fixture(scope="module")
def shared_response() -> CellsPair:
    """A screen whose perturbations share most of their response, as those of real cells do."""
    rng = np.random.default_rng(31)
    base = rng.gamma(0.7, 6.0, 260) + 0.05
    shared = rng.normal(0, 0.9, 260) * (rng.random(260) < 0.35)
    own = rng.normal(0, 0.8, (10, 260)) * (rng.random((10, 260)) < 0.15)
    rates = [base, *(base * np.exp(shared + change) for change in own)]
    sizes = [100, *[40] * 10]
    x = rng.poisson(rng.gamma(3, np.repeat(rates, sizes, axis=0) / 3)).astype(np.float32)
    labels = np.repeat(["control", *(f"p{i}" for i in range(10))], sizes)
    obs = pd.DataFrame({"perturbation": labels}, index=[str(i) for i in range(len(labels))])
    adata = ad.AnnData(sparse.csr_matrix(x), obs=obs)
    screen = Screen.of(adata, level="cells", unit="counts")
    return pair_of((screen, screen))


@pytest.mark.parametrize("name", [n for n in FAST if n not in LABEL_FREE])
def test_shuffled_labels_do_not_beat_the_mean_baseline(shared_response, name) -> None:
    """Real cells of other perturbations: all there is to know but which is which."""
    card, pair = CELL_METRICS[name], shared_response

    def value(side: CellsPair) -> float:
        parts = card.fn(side)
        return card.pool(parts) if card.pool else float(np.nanmean(parts))

    group = pair.truth.group_p
    moved = [replace(pair.truth, group_p=np.roll(group, k), cache={}) for k in (1, 3, 7)]
    shuffled = [value(replace(pair, predicted=cells, cache={})) for cells in moved]
    means = [value(mean_baseline(pair, np.random.default_rng(seed))) for seed in range(3)]
    if np.isnan(means).all():
        assert name == "de_spearman_sig", "the same number for all ranks nothing"
        return
    sign = 1 if card.better == "higher" else -1
    spread = np.std(shuffled) + np.std(means)
    assert sign * np.mean(shuffled) <= sign * np.mean(means) + spread + 1e-9


def test_halves_share_no_cell_and_lone_cells_are_left_out(small_pair) -> None:
    pair = pair_of(small_pair)
    half = halves(pair, np.random.default_rng(0))
    both = (half.truth.code_n > 0) & (half.predicted.code_n > 0)
    assert not both.any()
    used = (half.truth.code_n > 0) | (half.predicted.code_n > 0)
    np.testing.assert_array_equal(used, pair.truth.code_n > 0)
    code = np.where(pair.truth.code_n == 3, -1, pair.truth.code_n)
    code[np.flatnonzero(pair.truth.code_n == 3)[0]] = 3
    lone = halves(
        replace(pair, truth=replace(pair.truth, code_n=code, cache={})), np.random.default_rng(0)
    )
    assert len(lone.perturbations) == 11
    assert pair.perturbations[2] not in lone.perturbations


def test_missing_perturbations_are_counted(small_pair) -> None:
    truth, predicted = small_pair
    some = rebuilt(predicted, rows=np.flatnonzero(predicted.adata.obs["perturbation"] != "G3"))
    scores = run(truth, some, ["mae"])
    assert scores.table["n"].item() == 11
    assert scores.table["reason"].item() == "1 of 12: not predicted"
    assert scores.notes == ["default: 1 perturbations are not predicted"]
    assert scores.perturbations.filter(perturbation="G3")["value"].is_nan().all()


def test_mixed_scales_are_refused(small_pair) -> None:
    truth, predicted = small_pair
    tenfold = predicted.adata.X.copy()
    tenfold.data = np.log1p(10 * np.expm1(tenfold.data))
    with pytest.raises(UnitError, match="different scales"):
        run(truth, rebuilt(predicted, x=tenfold), ["mae"])
    mixed = predicted.adata.X.toarray()
    mixed[-100:] = np.minimum(np.expm1(mixed[-100:]) * 3, 14)
    with pytest.raises(UnitError, match=r"raw and logged cells are mixed|different scales"):
        run(truth, rebuilt(predicted, x=sparse.csr_matrix(mixed)), ["mae"])


def test_nothing_in_common_is_refused(small_pair) -> None:
    truth, predicted = small_pair
    adata = predicted.adata.copy()
    adata.var_names = [f"ENSG{i}" for i in range(adata.n_vars)]
    with pytest.raises(SchemaError, match="no gene in common"):
        run(truth, Screen.of(adata, level="cells", unit="log1p_cp10k"), ["mae"])
    labels = predicted.adata.obs["perturbation"].astype(str)
    with pytest.raises(SchemaError, match="no measured perturbation is predicted"):
        run(truth, rebuilt(predicted, perturbation=labels.replace("^G", "X", regex=True)), ["mae"])
    with pytest.raises(UnknownNameError, match="did you mean 'full'"):
        profile_cards("ful")
    assert {c.name for c in profile_cards("vcc")} == {
        "mae",
        "discrimination_score_l1",
        "overlap_at_N",
    }


def deep_cells(n_groups: int, rng: np.random.Generator) -> Cells:
    """Cells of about 3,000 counts in a control of 90 and groups of 40, some effect in each."""
    base = rng.gamma(0.6, 3.6, 1500)
    effects = [np.zeros(1500), *(rng.normal(0, 0.2, 1500) for _ in range(n_groups))]
    sizes = [90, *[40] * n_groups]
    rates = np.repeat([base * np.exp(e) for e in effects], sizes, axis=0)
    x = rng.poisson(rng.gamma(2, rates / 2)).astype(float)
    x = np.log1p(1e4 * x / x.sum(1, keepdims=True)).astype(np.float32)
    code = np.repeat(np.arange(n_groups + 1), sizes)
    return Cells(sparse.csr_matrix(x), code, np.arange(1, n_groups + 1))


@pytest.mark.parametrize("distinct", [True, False])
def test_energy_distance_by_8_bits_is_the_same(rng, monkeypatch, distinct) -> None:
    cells = deep_cells(3, rng)
    options = {"distinct": distinct, "within": None}
    exact = energy_distances(cells, cells, cells.mean_kg[0], **options)
    monkeypatch.setattr("perturbkit.metrics.cells.rounded.MIN_PRODUCTS", 0)
    monkeypatch.setattr("perturbkit.metrics.cells.edistance.float_sums", None)  # none is refused
    rounded = energy_distances(cells, cells, cells.mean_kg[0], **options)
    np.testing.assert_allclose(rounded[0], exact[0], atol=2e-5)
    assert rounded[1] == pytest.approx(exact[1], rel=2e-7)


def test_equal_cells_are_left_to_float(rng, monkeypatch) -> None:
    """Cells that are nearly equal are the case that 8 bits cannot tell apart."""
    cells = deep_cells(4, rng)
    x = cells.x_ng.toarray()
    for group in (2, 4):
        x[cells.rows(group)] = x[cells.rows(group)[0]]
    cells = replace(cells, x_ng=sparse.csr_matrix(x))
    options = {"distinct": True, "within": None}
    exact = energy_distances(cells, cells, cells.mean_kg[0], **options)
    monkeypatch.setattr("perturbkit.metrics.cells.rounded.MIN_PRODUCTS", 0)
    done = []
    monkeypatch.setattr(
        "perturbkit.metrics.cells.edistance.float_sums",
        lambda cells, *rest, **how: done.append(cells.n_groups) or float_sums(cells, *rest, **how),
    )
    found = energy_distances(cells, cells, cells.mean_kg[0], **options)
    assert done == [2]
    np.testing.assert_allclose(found[0], exact[0], atol=2e-5)
