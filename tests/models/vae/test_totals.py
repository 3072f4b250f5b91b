import numpy as np
import pytest

from perturbkit.core.condition import condition_keys
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.profiles import responses_of
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.store import store_of
from perturbkit.models.cells import CellData
from perturbkit.models.vae.stack import _slope
from perturbkit.models.vae.totals import ADDED, Totals, joined
from perturbkit.train.cells import cell_data


@pytest.fixture(scope="module")
def cells() -> CellData:
    screen = simulate(preset("tiny"), np.random.default_rng(1)).screen
    return cell_data(store_of(screen), responses_of(screen), (), np.random.default_rng(0))


@pytest.fixture(scope="module")
def totals(cells) -> Totals:
    contexts = Vocabulary(sorted(set(cells.profiles.contexts.tolist())), "context")
    return Totals.of(cells, contexts, counts=True)


def test_parts_are_disjoint_and_add_up_to_the_sums_over_the_cells(cells, totals) -> None:
    rows = np.union1d(cells.train_n, cells.val_n)
    x, code = cells.store.dense(rows), cells.store.arrays["condition"][rows]
    sums = np.stack([x[code == c].sum(0) for c in range(cells.store.conditions.height)])
    order = cells.profiles.find(condition_keys(cells.store.conditions))
    np.testing.assert_allclose(totals.sum_cg[order], sums)
    for parts in (totals.halves, (totals.learned, totals.apart)):
        whole = joined(*parts)
        for name in set(ADDED) - {"response_cg"}:  # that of the whole is the profiles' mean
            np.testing.assert_allclose(getattr(whole, name), getattr(totals, name), rtol=1e-10)
    first, second = totals.halves
    assert np.abs(first.n_cb - second.n_cb).max() <= 2
    assert totals.apart.n_c.sum() == cells.val_n.size
    assert totals.learned.n_c.sum() == cells.train_n.size


def test_means_and_spread_are_those_of_the_cells(cells, totals) -> None:
    np.testing.assert_allclose(totals.mean_cg, cells.profiles.mean_cg, rtol=1e-5, atol=1e-6)
    y = cells.store.dense(np.arange(cells.store.n_cells), log=True).astype(np.float64)
    code = cells.store.arrays["condition"]
    within = sum(((y[code == c] - y[code == c].mean(0)) ** 2).sum(0) for c in np.unique(code))
    expected = within / (len(y) - len(np.unique(code)))
    np.testing.assert_allclose(totals.spread_g, np.maximum(expected, 1e-8), rtol=1e-3, atol=1e-6)


def test_an_estimate_that_repeats_noise_gets_no_weight_on_other_cells() -> None:
    rng = np.random.default_rng(0)
    truth, noise, other = rng.standard_normal((3, 40, 60))
    seen = truth + other
    seen[3] = np.nan  # a condition without a cell
    assert _slope(seen, noise) < 0.05
    assert _slope(seen, truth) == pytest.approx(1.0, abs=0.1)
    assert _slope(seen, truth + noise) == pytest.approx(0.5, abs=0.1)
    assert _slope(np.full((2, 2), np.nan), np.ones((2, 2))) == 0.0
