"""Distances between clouds of cells, the E-test, and the challenge's six, on planted cells."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from perturbkit.core.screen import Screen
from perturbkit.metrics.cells import CELL_METRICS
from perturbkit.metrics.cells.align import align_cells
from perturbkit.metrics.cells.clouds import e_test, energy, mmd, per_gene, quantile_distance, sliced
from perturbkit.metrics.cells.vcc2026 import Tables

SIX = ["pds_cosine", "expr_mse_norm", "direction_fidelity_yield", "direction_reach", "sig_jaccard",
       "lfc_nmae"]  # fmt: skip


def cells(effect_pg: np.ndarray, rng: np.random.Generator, n: int = 60) -> Screen:
    """Gamma-Poisson counts of a control (first row) and perturbations."""
    names = ["control", *(f"g{i}" for i in range(len(effect_pg) - 1))]
    mean = 20 * np.exp(effect_pg)
    x = np.vstack([rng.poisson(rng.gamma(4, m / 4, (n, len(m)))) for m in mean])
    x = x.astype(np.float32)
    obs = pd.DataFrame({"perturbation": np.repeat(names, n)})
    obs.index = obs.index.astype(str)
    var = pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])])
    adata = ad.AnnData(sparse.csr_matrix(x), obs=obs, var=var)
    return Screen.of(adata, level="cells", unit="counts")


@pytest.fixture(scope="module")
def effect() -> np.ndarray:
    rng = np.random.default_rng(1)
    change = rng.normal(0, 1.0, (9, 120)) * (rng.random((9, 120)) < 0.3)
    change[0] = 0
    return change


@pytest.fixture(scope="module")
def sides(effect: np.ndarray) -> dict[str, Screen]:
    rng = np.random.default_rng(2)
    mean = np.vstack([effect[:1], np.repeat(effect[1:].mean(0)[None], 8, 0)])
    return {
        "truth": cells(effect, rng), "replicate": cells(effect, rng), "mean": cells(mean, rng),
        "opposite": cells(-effect, rng),
    }  # fmt: skip


def six(sides: dict[str, Screen], name: str) -> dict[str, float]:
    pair = align_cells(sides["truth"], sides[name]).pairs["default"]
    found = {}
    for metric in SIX:
        card = CELL_METRICS[metric]
        parts = card.fn(pair)
        found[metric] = card.pool(parts) if card.pool else float(np.nanmean(parts))
    return found


def test_truth_then_replicate_then_mean_then_opposite(sides: dict[str, Screen]) -> None:
    truth, replicate, mean, opposite = (
        six(sides, n) for n in ("truth", "replicate", "mean", "opposite")
    )
    for metric in SIX:
        card = CELL_METRICS[metric]
        sign = 1 if card.better == "higher" else -1
        if card.pool is None:  # the error's noise correction makes truth better than perfect
            assert truth[metric] == pytest.approx(card.best, abs=1e-6), metric
        else:
            assert sign * truth[metric] >= card.best
        assert sign * replicate[metric] > sign * mean[metric], metric
        assert sign * replicate[metric] > sign * opposite[metric], metric
    assert mean["pds_cosine"] == pytest.approx(0.5, abs=0.2)
    assert abs(replicate["expr_mse_norm"]) < 0.1, "noise is not counted as error"
    assert opposite["direction_reach"] < 0.1
    assert opposite["sig_jaccard"] > 0.4, "which genes change is right, only their sign is not"
    assert opposite["direction_fidelity_yield"] < 0.5, "below a coin"


def test_significance_leaves_out_what_the_control_does_not_express(effect) -> None:
    rng = np.random.default_rng(8)
    silent = effect.copy()
    silent[0, :20] = -20  # the control has none of these genes
    pair = align_cells(cells(silent, rng), cells(silent, rng)).pairs["default"]
    tables = Tables.of(pair)
    np.testing.assert_array_equal(tables.tested, np.arange(20, 120))
    assert tables.lfc[0].shape == (8, 100)
    assert tables is Tables.of(pair)


def test_the_own_target_does_not_count(sides) -> None:
    tables = Tables.of(align_cells(sides["truth"], sides["replicate"]).pairs["default"])
    np.testing.assert_array_equal(
        np.argwhere(~tables.counts), np.repeat(np.arange(8)[:, None], 2, 1)
    )
    assert not tables.significant[0][~tables.counts].any()


def test_wasserstein_equals_scipy(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(30, 4)), rng.normal(1, 2, size=(47, 4))
    expected = [stats.wasserstein_distance(a, b) for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(quantile_distance(x, y), expected)


def test_distances_are_zero_for_the_same_cloud_and_grow(rng: np.random.Generator) -> None:
    x = rng.normal(size=(80, 12)).astype(np.float32)
    y = rng.normal(size=(80, 12)).astype(np.float32)
    for distance in (energy, mmd, per_gene, sliced):
        near = [distance(x, y + np.float32(shift)) for shift in (0, 0.5, 1.5)]
        assert distance(x, x) == pytest.approx(0, abs=1e-4)
        assert 0 <= near[0] < near[1] < near[2]
        assert distance(x, x[::-1]) == pytest.approx(0, abs=1e-4)


def test_mmd_equals_its_definition(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(9, 3)).astype(np.float32), rng.normal(1, 1, (7, 3)).astype(np.float32)

    def gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a[:, None] - b[None]) ** 2).sum(-1)

    scale = np.median(gap(x, x)[np.triu_indices(9, 1)])
    expected = sum(
        s * np.exp(-gap(a, b) / scale).mean() for s, a, b in ((1, x, x), (1, y, y), (-2, x, y))
    )
    assert mmd(x, y) == pytest.approx(expected, rel=1e-4)


def test_e_test_is_calibrated_and_has_power(rng: np.random.Generator) -> None:
    null = [
        e_test(rng.normal(size=(20, 5)), rng.normal(size=(25, 5)), rng, 99)[1] for _ in range(120)
    ]
    assert np.mean(np.array(null) <= 0.1) == pytest.approx(0.1, abs=0.08)
    statistic, p_value = e_test(rng.normal(size=(20, 5)), rng.normal(1, 1, (25, 5)), rng, 199)
    assert statistic > 0
    assert p_value == pytest.approx(1 / 200)


@pytest.mark.parametrize("distance", [energy, mmd])
def test_cells_that_are_not_numbers_are_no_perfect_prediction(distance, rng) -> None:
    measured = rng.normal(size=(20, 4)).astype(np.float32)
    assert np.isnan(distance(np.where(np.eye(20, 4) > 0, np.nan, measured), measured))
