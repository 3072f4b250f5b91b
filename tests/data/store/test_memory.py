"""The store in memory is the store on disk, cell by cell."""

import numpy as np
import pytest

from perturbkit.core.errors import SchemaError
from perturbkit.data.prepare import PrepareConfig
from perturbkit.data.profiles import pseudobulk, responses_of
from perturbkit.data.read.h5ad import write_screen
from perturbkit.data.screens import open_screen
from perturbkit.data.store import describe_store, responses_of_store, store_of, write_store


@pytest.fixture(scope="module")
def screen():
    return open_screen("simulated", seed=2, preset="tiny")


def test_memory_and_disk_hold_the_same_cells(screen, tmp_path) -> None:
    write_screen(screen, tmp_path / "a.h5ad")
    disk = write_store([tmp_path / "a.h5ad"], tmp_path / "store", PrepareConfig())
    memory = store_of(screen)
    assert memory.n_cells == disk.n_cells
    assert memory.readouts == disk.readouts
    memory.verify()
    # the order of conditions may differ; each cell of the source must be the same
    cells = np.argsort(memory.arrays["source"])
    others = np.argsort(disk.arrays["source"])
    np.testing.assert_array_equal(memory.dense(cells), disk.dense(others))
    labels = [
        store.conditions["perturbation"].to_numpy()[store.arrays["condition"][order]]
        for store, order in ((memory, cells), (disk, others))
    ]
    assert (labels[0] == labels[1]).all()


def test_matched_controls_share_context_and_batch(screen) -> None:
    store = store_of(screen)
    rng = np.random.default_rng(0)
    rows = rng.integers(store.n_cells, size=200)
    matched = store.matched_controls(rows, rng)
    condition = store.arrays["condition"]
    names, contexts = (store.conditions[c].to_numpy() for c in ("perturbation", "context"))
    assert (names[condition[matched]] == "control").all()
    assert (contexts[condition[matched]] == contexts[condition[rows]]).all()
    assert (store.arrays["batch"][matched] == store.arrays["batch"][rows]).all()


def test_profiles_are_refused(screen) -> None:
    with pytest.raises(SchemaError, match="needs cells"):
        store_of(pseudobulk(screen, np.random.default_rng(0)))


def test_profiles_of_a_store_are_those_of_the_screen(screen, tmp_path) -> None:
    write_screen(screen, tmp_path / "a.h5ad")
    store = write_store([tmp_path / "a.h5ad"], tmp_path / "store", PrepareConfig())
    measured = responses_of(screen)
    found = responses_of_store(store, np.random.default_rng(0))
    assert set(found.keys) == set(measured.keys)
    found = found.select(found.find(measured.keys))
    np.testing.assert_allclose(found.mean_cg, measured.mean_cg, rtol=1e-6, atol=1e-7)
    assert found.conditions["n_cells"].to_list() == measured.conditions["n_cells"].to_list()
    assert found.halves is not None
    np.testing.assert_allclose(found.halves.mean(0), found.mean_cg, atol=0.2)
    about, expected = describe_store(store), screen.describe()
    assert {k: sorted(v) if isinstance(v, list) else v for k, v in about.items()} == {
        k: sorted(v) if isinstance(v, list) else v for k, v in expected.items()
    }
