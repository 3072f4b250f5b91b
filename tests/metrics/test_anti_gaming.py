"""Each way that is known to raise a published score gains nothing here."""

from dataclasses import replace

import anndata as ad
import numpy as np
import polars as pl
import pytest
from scipy import sparse

from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.metrics.cells.run import score_cells
from perturbkit.metrics.score import score
from perturbkit.metrics.vcc import scaled_score


def table(truth: Screen, predicted: Screen, rules="perturbkit") -> dict[str, float]:
    names = ["pearson_delta", "mae_delta", "discrimination_score_cosine", "overlap_at_N",
             "precision_at_N", "de_sig_genes_recall", "pearson_edistance", "roc_auc",
             "discrimination_score_l1", "mae", "de_spearman_sig"]  # fmt: skip
    rng = np.random.default_rng(0)
    found = score_cells(
        truth, predicted, metrics=names, rules=rules, rng=rng, n_bootstrap=10, references=False
    )
    return dict(found.table.select("metric", "value").rows())


def with_cells(screen: Screen, x: np.ndarray) -> Screen:
    adata = ad.AnnData(
        sparse.csr_matrix(x.astype(np.float32)), obs=screen.adata.obs, var=screen.adata.var
    )
    return Screen.of(adata, level="cells", unit="log1p_cp10k")


@pytest.fixture(scope="module")
def means(small_pair) -> Responses:
    """Means of the measured cells, control included."""
    x, labels = small_pair[0].adata.X.toarray(), small_pair[0].adata.obs["perturbation"]
    names = list(dict.fromkeys(labels))
    values = np.stack([x[(labels == n).to_numpy()].mean(0) for n in names])
    conditions = pl.DataFrame({"perturbation": names})
    return Responses(values[None], conditions, small_pair[0].readouts, "log1p_cp10k")


def test_twisted_predicted_controls(small_pair) -> None:
    """cell-eval #183, #196: predictions move nothing but their own control."""
    truth, predicted = small_pair
    x = predicted.adata.X.toarray()
    is_control = (predicted.adata.obs["perturbation"] == "control").to_numpy()
    mean_change = x[~is_control].mean(0) - x[is_control].mean(0)
    lazy = x.copy()
    lazy[~is_control] = x[is_control].mean(0)  # predict no change at all ...
    twisted = lazy.copy()
    twisted[is_control] = np.maximum(lazy[is_control] - 3 * mean_change, 0)  # ... from elsewhere
    honest, gamed = (with_cells(predicted, v) for v in (lazy, twisted))
    theirs = [table(truth, side, "cell-eval")["pearson_delta"] for side in (honest, gamed)]
    assert theirs[1] > 0.1
    ours = [table(truth, side) for side in (honest, gamed)]
    assert ours[0] == pytest.approx(ours[1], nan_ok=True)


def test_a_floor_under_mae_would_pay() -> None:
    """Inflating predictions buys discrimination for an error that a floor makes free."""
    honest = {"overlap_at_N": 0.18, "discrimination_score_l1": 0.61, "mae": 0.026}
    inflated = {"overlap_at_N": 0.18, "discrimination_score_l1": 0.75, "mae": 0.9}
    clipped = [scaled_score(v, clip=True)["score"] for v in (honest, inflated)]
    assert clipped[1] > clipped[0]
    ours = [scaled_score(v)["score"] for v in (honest, inflated)]
    assert ours[1] < ours[0]


def test_published_scaled_score() -> None:
    """0.18, 0.61 and 0.036 were published as about 9.4 with the challenge's baselines."""
    values = {"overlap_at_N": 0.18, "discrimination_score_l1": 0.61, "mae": 0.036}
    assert scaled_score(values, clip=True)["score"] == pytest.approx(9.3, abs=0.15)


def test_calling_every_gene_significant(small_pair) -> None:
    """Cells without spread make nearly every gene significant: recall is bought, nothing else."""
    truth, predicted = small_pair
    x = predicted.adata.X.toarray()
    changed = (predicted.adata.obs["perturbation"] != "control").to_numpy()
    x[changed] = x[changed].mean(0)
    honest, gamed = table(truth, predicted), table(truth, with_cells(predicted, x))
    assert gamed["de_sig_genes_recall"] > honest["de_sig_genes_recall"]
    for name in ("overlap_at_N", "precision_at_N", "roc_auc", "discrimination_score_cosine"):
        assert gamed[name] < honest[name], name
    assert np.isnan(gamed["de_spearman_sig"]), "the same count for all ranks nothing"


def test_ties_do_not_follow_the_alphabet(means: Responses) -> None:
    """No change is equally far from everything: every perturbation gets one half."""
    lazy = replace(means, values=np.repeat(means.control_of(["default"])[None], 13, 1))
    scores = score(
        means, {"lazy": lazy}, train=None, metrics=["discrimination_cosine", "top_20_overlap"],
        rng=np.random.default_rng(0),
    )  # fmt: skip
    np.testing.assert_array_equal(scores.values["lazy", "discrimination_cosine"], 0.5)
    np.testing.assert_allclose(scores.values["lazy", "top_20_overlap"], 20 / 320)


def test_flipped_signs_do_not_pass(means: Responses) -> None:
    """cell-eval #189 compared absolute changes; here the opposite of the truth is the farthest."""
    control = means.control_of(means.contexts)
    flipped = replace(means, values=(2 * control - means.mean_cg)[None])
    scores = score(
        means, {"flipped": flipped}, train=None,
        metrics=["discrimination_cosine", "pearson_delta"], rng=np.random.default_rng(0),
    )  # fmt: skip
    assert scores.values["flipped", "discrimination_cosine"].mean() < 0.1
    np.testing.assert_allclose(scores.values["flipped", "pearson_delta"], -1, atol=1e-4)


def test_inflating_a_prediction_does_not_raise_its_errors_score(small_pair) -> None:
    """Ten times the predicted change: cosine is unmoved, every error is worse."""
    truth, predicted = small_pair
    x = predicted.adata.X.toarray()
    control = x[(predicted.adata.obs["perturbation"] == "control").to_numpy()].mean(0)
    inflated = np.clip(control + 1.8 * (x - control), 0, None)
    honest, gamed = table(truth, predicted), table(truth, with_cells(predicted, inflated))
    assert gamed["mae"] > honest["mae"]
    assert gamed["mae_delta"] > honest["mae_delta"]


def test_knowing_the_target_goes_down_is_no_discrimination(rng: np.random.Generator) -> None:
    """A model that only lowers each target's own gene is at chance: that gene is left out."""
    n, g = 30, 60
    readouts = Vocabulary([f"g{i}" for i in range(g)], "readout")
    conditions = pl.DataFrame({"perturbation": ["control", *(f"g{i}" for i in range(n))]})
    truth = rng.gamma(4, 0.5, (n + 1, g)).astype(np.float32)
    own = truth[0] - 0 * truth
    for i in range(n):
        truth[1 + i, i] = own[1 + i, i] = 0
    sides = [Responses(v[None], conditions, readouts, "log1p_cp10k") for v in (truth, own)]
    scores = score(
        sides[0], {"target only": sides[1]}, train=None,
        metrics=["discrimination_cosine", "discrimination_l1"], rng=rng,
    )  # fmt: skip
    assert scores.values["target only", "discrimination_cosine"].mean() == 0.5
    assert abs(scores.values["target only", "discrimination_l1"].mean() - 0.5) < 0.15
