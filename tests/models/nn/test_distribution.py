"""Distances between sets of cells agree with scipy, ignore pads, and know equal sets."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.optimize import linear_sum_assignment

from perturbkit.metrics.cells.clouds import energy
from perturbkit.models.nn import distribution as nd

DISTANCES = {
    "energy": nd.energy_distance, "mmd": nd.mmd, "sinkhorn": nd.sinkhorn_divergence,
}  # fmt: skip


@pytest.fixture
def clouds(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = rng.normal(size=(30, 4)), rng.normal(0.7, 1.3, size=(25, 4))
    return torch.from_numpy(x).float(), torch.from_numpy(y).float()


def test_energy_in_one_dimension_is_scipys(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=40), rng.normal(1, 2, size=30)
    ours = nd.energy_distance(*(torch.from_numpy(v[:, None]).float() for v in (x, y)))
    assert float(ours) == pytest.approx(stats.energy_distance(x, y) ** 2, rel=1e-4)


def test_energy_is_that_of_the_metric(clouds) -> None:
    x, y = clouds
    assert float(nd.energy_distance(x, y)) == pytest.approx(energy(x.numpy(), y.numpy()), rel=1e-4)


def test_distinct_pairs_make_samples_of_one_law_zero_apart(rng: np.random.Generator) -> None:
    x, y = torch.from_numpy(rng.normal(size=(2, 400, 8, 3))).float()
    unbiased = nd.energy_distance(x, y, distinct=True)
    assert abs(float(unbiased.mean())) < 3 * float(unbiased.std()) / 400**0.5
    assert float(nd.energy_distance(x, y).mean()) > 5 * float(unbiased.mean().abs())


@pytest.mark.parametrize("name", DISTANCES)
def test_pads_are_seen_by_none(name, clouds) -> None:
    x, y = clouds
    pad = torch.full((7, 4), 50.0)
    mask_x = torch.arange(37) < 30
    mask_y = torch.arange(32) < 25
    with_pads = DISTANCES[name](torch.cat([x, pad]), torch.cat([y, pad]), mask_x, mask_y)
    # the centre that precision is kept around moves, so rounding does
    assert float(with_pads) == pytest.approx(float(DISTANCES[name](x, y)), rel=2e-3)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_sets_are_zero_apart_and_others_are_not(name, clouds) -> None:
    x, y = clouds
    assert float(DISTANCES[name](x, x[torch.randperm(30)])) == pytest.approx(0, abs=1e-4)
    assert float(DISTANCES[name](x, y)) > 0.05


@pytest.mark.parametrize("name", DISTANCES)
def test_descending_a_distance_brings_the_sets_together(name, clouds) -> None:
    x, y = clouds
    moved = x.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        DISTANCES[name](moved, y).backward()
        optimizer.step()
    before, after = nd.energy_distance(x, y), nd.energy_distance(moved.detach(), y)
    assert float(after) < 0.3 * float(before)


def test_sinkhorn_with_little_blur_is_optimal_transport(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(20, 3)), rng.normal(1, 1, size=(20, 3))
    cost = np.square(x[:, None] - y[None]).sum(-1) / 2
    exact = cost[linear_sum_assignment(cost)].mean()
    ours = nd.sinkhorn_divergence(
        torch.from_numpy(x).float(), torch.from_numpy(y).float(), blur=0.03, n_steps=400
    )
    assert float(ours) == pytest.approx(exact, rel=0.02)


def test_wasserstein_of_genes_is_scipys(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 30, 5))
    exact = np.mean([stats.wasserstein_distance(x[:, g], y[:, g]) for g in range(5)])
    assert float(nd.wasserstein_genes(*map(torch.from_numpy, (x, y)))) == pytest.approx(exact)


def test_kl_of_profiles_is_scipys(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 6, 9))
    p, q = special.softmax(y, 1), special.softmax(x, 1)
    exact = special.rel_entr(p, q).sum(1).mean()
    assert float(nd.profile_kl(*map(torch.from_numpy, (x, y)))) == pytest.approx(exact)


def test_negative_binomial_is_scipys() -> None:
    count, mean, dispersion = torch.tensor([[0.0, 3, 11], [2.5, 4, 7], [0.3, 1, 0.02]])
    r = 1 / dispersion.numpy()
    exact = -stats.nbinom.logpmf(count.numpy(), r, r / (r + mean.numpy()))
    ours = nd.negative_binomial_nll(count, mean, dispersion)
    np.testing.assert_allclose(ours.numpy(), exact, rtol=1e-4)


def test_tabular_energy_sees_a_gene_that_is_off_in_all_cells(rng: np.random.Generator) -> None:
    y = torch.from_numpy(rng.random((16, 12))).float()
    off = y.clone()
    off[:, 3] = 0
    assert float(nd.tabular_energy(y, y)) == pytest.approx(0, abs=1e-4)
    assert float(nd.tabular_energy(off, y)) > 0.01


def test_distances_keep_their_digits_under_bfloat16(clouds) -> None:
    x, y = clouds
    exact = nd.energy_distance(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(nd.energy_distance(x, y)) == pytest.approx(float(exact), rel=1e-5)
