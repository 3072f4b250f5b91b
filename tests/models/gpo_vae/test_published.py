import numpy as np
import pytest
import torch

from perturbkit.data.profiles import responses_of
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.store import store_of
from perturbkit.models.gpo_vae.published import (
    _matches,
    matched_distances,
    network_loss,
    reach,
)
from perturbkit.train.cells import cell_data


def test_reach_sums_powers_of_the_logits() -> None:
    w = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = sum(torch.linalg.matrix_power(w, k + 1) / 5**k for k in range(4))
    torch.testing.assert_close(reach(w[:2], w, 3), expected[:2])
    torch.testing.assert_close(reach(w[:2], w, 0), w[:2])


def test_network_loss_by_hand() -> None:
    rows, distance = torch.tensor([[0.5, -1.0]]), torch.tensor([[1.0, 0.2]])
    assert network_loss(rows, distance, 0.8).item() == pytest.approx((0.3 + 0.4) / 2)


def test_without_neighbours_a_row_tends_to_the_median_distance() -> None:
    """Why the published logits follow single-cell noise: reference, section 1.5."""
    rng = np.random.default_rng(0)
    distance = torch.from_numpy(rng.gamma(2, 0.5, (201, 3)).astype(np.float32))
    w = torch.zeros(1, 3, requires_grad=True)
    step = torch.optim.Adam([w], lr=0.01)
    for _ in range(800):
        step.zero_grad()
        network_loss(w.expand(201, 3), distance, 0.8).backward()
        step.step()
    np.testing.assert_allclose(w[0].detach(), distance.median(0).values - 0.8, atol=0.03)


def test_the_plan_pairs_equal_clouds_one_to_one() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 800, (12, 4))  # far beyond the published blur
    order = rng.permutation(12)
    np.testing.assert_array_equal(_matches(x[order], x), order)


def test_controls_are_their_own_match_and_test_cells_are_not_read() -> None:
    screen = simulate(preset("tiny"), np.random.default_rng(0)).screen
    profiles = responses_of(screen)
    kept = profiles.select(np.arange(len(profiles.keys)) < 30)
    data = cell_data(store_of(screen), kept, (), np.random.default_rng(0))
    distance = matched_distances(data, np.arange(10), np.arange(5))
    store = data.store
    control = (store.conditions["perturbation"] == "control").to_numpy()
    is_control = control[store.arrays["condition"]]
    known = np.zeros(store.n_cells, bool)
    known[np.concatenate([data.train_n, data.val_n])] = True
    assert (distance[is_control] == 0).all()
    assert (distance[~known] == 0).all()
    assert (distance[known & ~is_control].sum(1) > 0).all()
