"""The challenge's six scores of 2026: cell-eval2's numbers on raw counts, and their definitions."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from perturbkit.core.errors import UnitError
from perturbkit.core.screen import Screen
from perturbkit.metrics.cells import CELL_METRICS
from perturbkit.metrics.cells.align import align_cells
from perturbkit.metrics.cells.counts import BULK_TOTAL, bulk_noise, bulk_profiles, jackknife
from perturbkit.metrics.cells.run import profile_cards, score_cells
from perturbkit.metrics.vcc import replicate_score

CELL_EVAL2 = {
    "pds_cosine": 0.9010989010989012, "expr_mse_norm": 1.2077092557788887,
    "direction_fidelity_yield": 0.5946194331445628, "direction_reach": 0.7159755488333929,
    "sig_jaccard": 0.19483202006708483, "lfc_nmae": 0.9174885973716312,
}  # fmt: skip
"""Mean row of cell-eval2 0.20.0 with pdex 0.3.0 on the pair of `counts_pair`:
`cell-eval2 run -ap pred.h5ad -ar real.h5ad --preset vcc2026 --set de.backend=pdex`."""


def counts_adata(rates: list[np.ndarray], sizes: list[int], seed: int) -> ad.AnnData:
    """Gamma-Poisson counts of a control and of perturbations named by genes, the last a drug's."""
    rng = np.random.default_rng(seed)
    x = [
        rng.poisson(rng.gamma(3.0, r / 3.0, (n, len(r)))) for r, n in zip(rates, sizes, strict=True)
    ]
    names = ["non-targeting", *(f"G{i}" for i in range(len(rates) - 2)), "drug"]
    obs = pd.DataFrame({"target": np.repeat(names, sizes)})
    obs.index = obs.index.astype(str)
    genes = pd.DataFrame(index=[f"G{i}" for i in range(len(rates[0]))])
    return ad.AnnData(sparse.csr_matrix(np.vstack(x).astype(np.float32)), obs=obs, var=genes)


def counts_pair() -> tuple[ad.AnnData, ad.AnnData]:
    """Measured and predicted counts; three predictions are of few or of wildly spread cells."""
    rng = np.random.default_rng(26)
    n_genes, n = 300, 14
    base = rng.gamma(0.7, 4.0, n_genes) + 0.02
    change = rng.normal(0, 1.0, (n, n_genes)) * (rng.random((n, n_genes)) < 0.2)
    change[np.arange(n - 1), np.arange(n - 1)] = -3
    guess = 0.4 * change + rng.normal(0, 0.25, change.shape)
    guess[[2, 5]] = guess[[5, 2]]  # two perturbations taken for each other
    real = counts_adata([base, *(base * np.exp(c) for c in change)], [120, *[40] * n], 1)
    sizes = [90, *[35] * (n - 2), 4, 9]
    predicted = counts_adata([base, *(base * np.exp(c) for c in guess)], sizes, 2)
    return real, predicted


def screen(adata: ad.AnnData) -> Screen:
    adata = adata.copy()
    adata.obs["target"] = adata.obs["target"].astype(str).replace({"non-targeting": "control"})
    return Screen.of(adata, level="cells", unit="counts", perturbation="target")


@pytest.fixture(scope="module")
def pair() -> tuple[Screen, Screen]:
    real, predicted = counts_pair()
    return screen(real), screen(predicted)


@pytest.fixture(scope="module")
def table(pair) -> dict[str, dict[str, float]]:
    scores = score_cells(
        *pair, metrics=profile_cards("vcc2026"), rng=np.random.default_rng(0), n_bootstrap=20
    )
    return {row["metric"]: row for row in scores.table.iter_rows(named=True)}


@pytest.mark.parametrize("name", CELL_EVAL2)
def test_equals_cell_eval2(table, name: str) -> None:
    assert table[name]["value"] == pytest.approx(CELL_EVAL2[name], abs=1e-9)


def test_the_jackknife_is_that_of_leaving_each_cell_out(rng: np.random.Generator) -> None:
    counts = rng.poisson(2.0, (7, 30)).astype(float)
    profiles = []
    for i in range(7):
        rest = np.delete(counts, i, 0).sum(0)
        profiles.append(np.log1p(BULK_TOTAL * rest / rest.sum()))
    deviation = np.array(profiles) - np.mean(profiles, 0)
    expected = 6 / 7 * np.square(deviation).sum()
    assert jackknife(sparse.csr_matrix(counts)) == pytest.approx(expected, rel=1e-12)
    assert jackknife(sparse.csr_matrix(counts[:1])) == 0
    alone = np.zeros((3, 4))
    alone[1] = [3, 0, 1, 2]  # leaving the only cell with counts out leaves none
    assert np.isfinite(jackknife(sparse.csr_matrix(alone)))


def test_the_jackknife_predicts_how_far_two_samples_lie_apart() -> None:
    """Without an effect, the mean squared distance of two samples is the sum of their noises."""
    rate = np.random.default_rng(3).gamma(2.0, 10.0, 200)
    adata = counts_adata([rate] * 42, [60] * 42, 4)
    truth = align_cells(screen(adata), screen(adata)).pairs["default"].truth
    profiles, noise = bulk_profiles(truth), bulk_noise(truth)
    apart = np.square(profiles[0:42:2] - profiles[1:42:2]).sum(1)
    claimed = noise[0:42:2] + noise[1:42:2]
    assert apart.mean() == pytest.approx(claimed.mean(), rel=0.05)


def test_logs_are_refused(pair, small_pair) -> None:
    with pytest.raises(UnitError, match="raw counts on both sides"):
        score_cells(*small_pair, metrics=["lfc_nmae"], rng=np.random.default_rng(0))
    with pytest.raises(UnitError, match="raw counts on both sides"):
        score_cells(pair[0], small_pair[1], metrics=["lfc_nmae"], rng=np.random.default_rng(0))


def test_counts_also_take_the_metrics_of_logs(pair) -> None:
    scores = score_cells(
        *pair, metrics=["pearson_delta", "de_sig_genes_recall", "lfc_nmae"],
        rng=np.random.default_rng(0), n_bootstrap=10,
    )  # fmt: skip
    assert scores.complete


def test_the_scaled_score_puts_baseline_at_0_and_replicate_at_1() -> None:
    low = {"pds_cosine": 0.5, "expr_mse_norm": 1.0, "lfc_nmae": 1.0}
    high = {"pds_cosine": 0.9, "expr_mse_norm": 0.0, "lfc_nmae": 0.4}
    assert replicate_score(low, low, high)["score"] == pytest.approx(0)
    assert replicate_score(high, low, high)["score"] == pytest.approx(100)
    worse = replicate_score(low | {"pds_cosine": 0.3, "expr_mse_norm": 3.0}, low, high)
    assert worse["pds_cosine"] == pytest.approx(-50), "not clipped"
    assert worse["expr_mse_norm"] == 0, "the one that is"
    assert np.isnan(replicate_score(low, high, low)["score"])


def same_bulk(adata: ad.AnnData) -> ad.AnnData:
    """The same counts of each group, all of a gene's counts in one cell of the group."""
    x, labels = adata.X.toarray(), adata.obs["target"].to_numpy()
    out = np.zeros_like(x)
    for name in np.unique(labels):
        rows = np.flatnonzero(labels == name)
        genes = np.arange(x.shape[1])
        out[rows[genes % len(rows)], genes] = x[rows].sum(0)
    return ad.AnnData(sparse.csr_matrix(out), obs=adata.obs, var=adata.var)


def test_scatter_that_cancels_in_the_bulk_buys_no_noise_correction(pair) -> None:
    """cell-eval2 #247, #348: huge spread between cells, the same sums."""
    real, _ = counts_pair()
    rng = np.random.default_rng(5)
    control = real[(real.obs["target"] == "non-targeting").to_numpy()].X.toarray()
    lazy = real.copy()
    lazy.X = sparse.csr_matrix(control[np.arange(lazy.n_obs) % len(control)][:, :])
    for side in (lazy, same_bulk(lazy)):
        score = score_cells(
            pair[0], screen(side), metrics=["expr_mse_norm"], rng=rng, references=False,
            n_bootstrap=5,
        )  # fmt: skip
        assert score.table["value"].item() > 0.9, "no change scores about 1, however it is spread"


def test_the_targets_own_gene_buys_nothing(pair) -> None:
    """Control cells with only the target silenced: cell-eval2 #172 and #343."""
    real, _ = counts_pair()
    control = real[(real.obs["target"] == "non-targeting").to_numpy()].X.toarray()
    x = control[np.arange(real.n_obs) % len(control)]
    honest = real.copy()
    honest.X = sparse.csr_matrix(x)
    labels = real.obs["target"].to_numpy()
    silenced = x.copy()
    for row, label in enumerate(labels):
        if label in real.var_names:
            silenced[row, real.var_names.get_loc(label)] = 0
    known = real.copy()
    known.X = sparse.csr_matrix(silenced)
    cards = [CELL_METRICS[n] for n in ("expr_mse_norm", "sig_jaccard", "direction_reach")]
    values = []
    for side in (honest, known):
        found = score_cells(
            pair[0], screen(side), metrics=cards, rng=np.random.default_rng(0), n_bootstrap=5,
            references=False,
        )  # fmt: skip
        values.append(found.table["value"].to_numpy())
    np.testing.assert_allclose(values[1], values[0], atol=0.02)
