import numpy as np
import pytest
from scipy import stats

from perturbkit.core.condition import CONTROL
from perturbkit.data.simulate import draw_world, preset, simulate
from perturbkit.data.simulate.counts import (
    Cells,
    batch_factors,
    library_sizes,
    programme_loadings,
    sample_counts,
)
from perturbkit.data.simulate.settings import CellConfig


def draw(n=4000, dispersion=0.3, loading=None, n_batches=1, factors=None):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(12), size=1)
    cells = Cells(np.zeros(n, np.int64), np.arange(n) % n_batches, np.full(n, 500.0))
    factors = np.ones((n_batches, 12)) if factors is None else factors
    loading = np.zeros((0, 12), np.float32) if loading is None else loading
    return shares[0], sample_counts(shares, cells, factors, loading, dispersion, rng)


@pytest.mark.parametrize("dispersion", [0.0, 0.1, 1.0])
def test_mean_and_variance_are_those_of_the_negative_binomial(dispersion):
    shares, counts = draw(20_000, dispersion)
    dense, mean = counts.toarray(), 500 * shares
    variance = mean + dispersion * mean**2
    np.testing.assert_allclose(dense.mean(0), mean, atol=5 * np.sqrt(variance.max() / 20_000))
    np.testing.assert_allclose(dense.var(0), variance, rtol=0.1)


def test_counts_follow_the_distribution_and_not_only_its_moments():
    shares, counts = draw(20_000, 0.5)
    gene = int(np.argsort(shares)[6])
    mean = 500 * shares[gene]
    values = counts[:, [gene]].toarray().ravel()
    found = np.bincount(values.astype(int))
    expected = stats.nbinom.pmf(np.arange(len(found)), 2.0, 2.0 / (2.0 + mean)) * len(values)
    kept = expected > 10
    scale = found[kept].sum() / expected[kept].sum()
    assert stats.chisquare(found[kept], expected[kept] * scale).pvalue > 1e-4


def test_library_sizes_have_their_mean_and_spread():
    config = CellConfig(umi=3000.0, umi_sd=0.5)
    sizes = library_sizes(config, 50_000, np.random.default_rng(0))
    assert sizes.mean() == pytest.approx(3000, rel=0.02)
    assert np.log(sizes).std() == pytest.approx(0.5, rel=0.03)


def test_batches_shift_genes_alike_in_all_their_cells():
    config = CellConfig(batch_sd=0.5)
    factors = batch_factors(config, 2, 12, np.random.default_rng(3))
    shares, counts = draw(20_000, 0.1, n_batches=2, factors=factors)
    dense = counts.toarray()
    ratio = dense[1::2].mean(0) / dense[::2].mean(0)
    expected = shares * factors
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(ratio, expected[1] / expected[0], rtol=0.1)


def test_programmes_add_correlated_variation_and_keep_the_mean():
    config = CellConfig(n_programmes=1, programme_sd=0.5)
    loading = np.zeros((1, 12), np.float32)
    loading[0, :3] = 0.7
    shares, counts = draw(20_000, 0.05, loading)
    dense = counts.toarray()
    np.testing.assert_allclose(dense.mean(0), 500 * shares, rtol=0.1)
    correlation = np.corrcoef(dense[:, :6].T)
    assert correlation[0, 1] > 0.4
    assert abs(correlation[4, 5]) < 0.05
    drawn = programme_loadings(config, 1000, np.random.default_rng(0))
    assert 50 < np.count_nonzero(drawn) < 200


def test_escaped_cells_look_like_controls_and_truth_is_the_mixture():
    config = preset("tiny").replace(efficacy={"escape": 0.4, "knockdown": 0.95}, n_cells=400)
    simulated = simulate(config, np.random.default_rng(0))
    obs, x = simulated.screen.adata.obs, simulated.screen.adata.X
    assert obs["escaped"].mean() == pytest.approx(0.4, abs=0.03)
    assert not obs.loc[obs["perturbation"] == CONTROL, "escaped"].any()
    target = str(next(p for p in obs["perturbation"].unique() if p != CONTROL and "+" not in p))
    own = x[:, [simulated.screen.readouts.position(target)]].toarray().ravel()
    hit = (obs["perturbation"] == target).to_numpy()
    gone = obs["escaped"].to_numpy()
    assert own[hit & ~gone].mean() < 0.35 * own[hit & gone].mean()
    share = own[hit].sum() / x[np.flatnonzero(hit)].sum()
    rows = (simulated.responses.conditions["perturbation"] == target).to_numpy()
    truth = np.expm1(
        simulated.responses.mean_cg[rows][:, simulated.screen.readouts.position(target)]
    )
    assert 1e4 * share == pytest.approx(truth.mean(), rel=0.3)


def test_uneven_cells_leave_none_without():
    config = preset("tiny").replace(n_cells_sd=1.0)
    cells = simulate(config, np.random.default_rng(0)).screen.conditions["n_cells"].to_numpy()
    assert cells.min() >= 2
    assert cells.std() > 5


def test_programmes_belong_to_the_world_and_return_in_every_experiment():
    world = draw_world(preset("four_contexts"), np.random.default_rng(0))
    assert world.loading_kg.shape == (3, 300)
    correlations = []
    for seed in range(2):
        screen = world.measure(world.controls(), 1000, np.random.default_rng(seed))
        cells = np.log1p(screen.adata.X[:, np.argsort(-np.abs(world.loading_kg[0]))[:8]].toarray())
        correlations.append(np.corrcoef(cells.T)[np.triu_indices(8, 1)])
    assert np.corrcoef(correlations)[0, 1] > 0.7
