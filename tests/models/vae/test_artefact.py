import numpy as np
import pytest
import torch

from perturbkit.data.profiles import responses_of
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.store import store_of
from perturbkit.models.vae.artefact import MOST_CELLS, Artefact
from perturbkit.train.cells import cell_data


@pytest.fixture(scope="module")
def case():
    screen = simulate(preset("tiny"), np.random.default_rng(0)).screen
    data = cell_data(store_of(screen), responses_of(screen), (), np.random.default_rng(0))
    artefact = Artefact(4, data.store.conditions.height, len(data.store.readouts), 1.0)
    artefact.learn(data, np.random.default_rng(1))
    return data, artefact


def test_cells_fail_by_the_deviation_of_their_total(case) -> None:
    data, artefact = case
    x = data.store.dense(data.train_n)
    sizes = np.stack([x.sum(1), (x > 0).sum(1)])
    middle = np.median(sizes, 1, keepdims=True)
    spread = np.median(np.abs(sizes - middle), 1, keepdims=True)
    expected = (sizes < middle - spread).any(0)
    assert 0.05 < expected.mean() < 0.6
    np.testing.assert_array_equal(artefact.failed(torch.from_numpy(x)).numpy(), expected)


def test_counterfactuals_come_from_the_same_condition_and_the_other_outcome(case) -> None:
    """The published code reads rows of other perturbations."""
    data, artefact = case
    store, rows = data.store, data.train_n
    failed = artefact.failed(torch.from_numpy(store.dense(rows))).numpy()
    code = store.arrays["condition"][rows]
    n_checked = 0
    for c in range(store.conditions.height):
        for flag in (0, 1):
            mine = rows[(code == c) & (failed == flag)]
            assert bool(artefact.has_counterfactual[c, flag]) == bool(mine.size)
            if 0 < mine.size <= MOST_CELLS:
                median = np.median(store.dense(mine), 0)
                profile, known = artefact.others(torch.tensor([c]), torch.tensor([1.0 - flag]))
                np.testing.assert_allclose(profile[0], median)
                assert bool(known[0])
                n_checked += 1
    assert n_checked > 10


def test_held_out_cells_are_not_read(case) -> None:
    data, artefact = case
    unread = np.setdiff1d(np.arange(data.store.n_cells), data.train_n)
    assert unread.size
    code = data.store.arrays["condition"]
    alone = [c for c in range(data.store.conditions.height) if not (code[data.train_n] == c).any()]
    assert not artefact.has_counterfactual[alone].any()
