"""Differences, fold changes and control splits against plain computations and known truths."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import kstest

from perturbkit.core.screen import Screen
from perturbkit.grn.contrast import Contrast
from perturbkit.grn.effects import effects_of_rows, mean_effects
from perturbkit.grn.expression import rows_of
from perturbkit.grn.null import calibrate, null_of


def screen_of(counts, labels, *, unit="counts", **columns):
    obs = pd.DataFrame({"perturbation": labels, **columns})
    obs.index = obs.index.astype(str)
    genes = pd.DataFrame(index=[f"g{j}" for j in range(counts.shape[1])])
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs, genes)
    return Screen.of(adata, level="cells", unit=unit, constants={"kind": "crispri"})


LABELS = np.repeat(["control", "g0", "g1"], [120, 50, 50])


def test_the_difference_of_means_is_that_of_numpy(rng):
    x = rng.gamma(2.0, 0.5, (220, 7))
    effects = mean_effects(screen_of(x, LABELS, unit="log1p_cp10k"))
    expected = x[120:170].mean(0) - x[:120].mean(0)
    assert effects.delta_pg[0] == pytest.approx(expected, abs=1e-5)
    own, control = x[120:170].var(0, ddof=1), x[:120].var(0, ddof=1)
    moderated = (49 * own + 10 * control) / 59
    assert effects.se_pg[0] == pytest.approx(np.sqrt(moderated / 50 + control / 120), rel=1e-4)


def test_cells_are_compared_within_their_batch(rng):
    batch = np.repeat(["a", "b"], [150, 150])
    labels = np.array(["control"] * 300, dtype=object)
    labels[100:150] = "g0"  # a third of batch a
    labels[290:] = "g0"  # few cells of batch b, whose level is far higher
    x = rng.normal(2, 0.1, (300, 5)) + np.where(batch == "b", 3.0, 0.0)[:, None]
    effects = mean_effects(screen_of(x, labels, unit="log1p_cp10k", batch=batch))
    assert np.abs(effects.delta_pg[0]).max() < 0.1


@pytest.mark.parametrize("depth", [2.0, 20.0])
def test_fold_changes_are_those_planted_whatever_the_depth(depth, rng):
    base = depth * rng.uniform(0.5, 2.0, 60)
    fold = np.ones((3, 60))
    fold[1, :6] = [0.25, 0.5, 2.0, 4.0, 1.5, 0.7]
    size = rng.lognormal(0, 0.4, 700)
    which = np.repeat([0, 1, 2], [400, 150, 150])
    counts = rng.poisson(base * fold[which] * size[:, None])
    rows = rows_of(screen_of(counts, np.array(["control", "g0", "g1"])[which]))
    effects = effects_of_rows(rows, Contrast(rows))
    error = (effects.delta_pg - np.log(fold[1:])) / effects.se_pg
    assert np.abs(error).max() < 4.5
    assert 0.7 < error[:, 6:].std() < 1.3
    assert effects.delta_pg[0, :6] == pytest.approx(np.log(fold[1, :6]), abs=0.15)


def test_a_flood_of_one_gene_does_not_move_the_others(rng):
    base = np.full(60, 5.0)
    counts = rng.poisson(np.tile(base, (300, 1)))
    labels = np.repeat(["control", "g0"], [200, 100])
    counts[200:, 0] = rng.poisson(400.0, 100)
    thinned = rng.binomial(counts, 0.5)
    rows = rows_of(screen_of(thinned, labels))
    effects = effects_of_rows(rows, Contrast(rows))
    assert effects.delta_pg[0, 0] > 3
    assert np.abs(np.median(effects.delta_pg[0, 1:])) < 0.05


def test_scores_of_unperturbed_cells_are_normal_once_calibrated(rng):
    size = rng.lognormal(0, 0.4, 1600)
    counts = rng.negative_binomial(2, 2 / (2 + np.outer(size, np.geomspace(0.1, 5, 120))))
    labels = np.repeat(["control", *[f"p{i}" for i in range(15)]], [1000, *[40] * 15])
    rows = rows_of(screen_of(counts, labels))
    contrast = Contrast(rows)
    effects = effects_of_rows(rows, contrast)
    z = calibrate(effects.z_pg, null_of(contrast, effects, rng))
    assert kstest(z.ravel(), "norm").statistic < 0.06
    assert np.mean(np.abs(z) > 3.3) < 0.003


def test_guides_that_differ_among_controls_widen_the_null(rng):
    guide = np.repeat([f"nt{i}" for i in range(8)], 60)
    level = np.exp(rng.normal(0, 0.5, (8, 40)))[np.repeat(np.arange(8), 60)]
    labels = np.array(["control"] * 480, dtype=object)
    labels[:60] = "p0"
    counts = rng.poisson(4 * level)
    rows = rows_of(screen_of(counts, labels, guide=guide))
    contrast = Contrast(rows)
    effects = effects_of_rows(rows, contrast)
    null = null_of(contrast, effects, rng)
    assert null.inflation_g.mean() > 2
    assert np.mean(np.abs(effects.z_pg) > 3) > 0.3
    assert np.mean(np.abs(calibrate(effects.z_pg, null)) > 3) < 0.1


def test_profiles_whose_targets_show_no_loss_of_their_own_still_have_effects():
    """Calls of deletions may hold nothing of the deleted genes themselves."""
    names = [f"g{i}" for i in range(12)]
    calls = np.zeros((7, 12))
    calls[1:, 6:] = np.random.default_rng(0).random((6, 6)) < 0.4
    obs = pd.DataFrame({"perturbation": ["control", *names[:6]]}, index=[f"p{i}" for i in range(7)])
    adata = ad.AnnData(calls, obs, pd.DataFrame(index=names))
    screen = Screen.of(adata, level="profiles", unit="score", constants={"kind": "ko"})
    effects = mean_effects(screen)
    assert np.isfinite(effects.delta_pg).all()
    order = effects.sources.find(names[:6])
    called = calls[1:, 6:] == 1
    change = effects.delta_pg[order][:, 6:]
    assert change[called].min() > change[~called].max()
