"""The store holds the cells it was given, in groups; batches are a true shuffle; damage is said."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from perturbkit.core.errors import ConfigError, FileError, SchemaError, UnitError
from perturbkit.data.de import log_normalized
from perturbkit.data.prepare import PrepareConfig
from perturbkit.data.store import CellStore, ShuffledCells, write_store

COUNTS = PrepareConfig(unit="counts")


def make(rng, n=200, g=9) -> ad.AnnData:
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(["control", "A", "A+B"], n),
            "context": rng.choice(["X", "Y"], n),
            "batch": rng.choice(["1", "2"], n),
        },
        index=[f"c{i}" for i in range(n)],
    )
    x_ng = sparse.csr_matrix(rng.poisson(0.8, (n, g)).astype(np.float32))
    return ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(g)]))


@pytest.mark.parametrize("kind", ["counts", "large", "logs", "dense"])
def test_every_cell_comes_back_where_the_manifest_says(rng, tmp_path, kind):
    adata = make(rng)
    if kind == "large":
        adata.X.data[3] = 70_000
    elif kind == "logs":
        adata.X = log_normalized(adata.X)
    elif kind == "dense":
        adata.X = adata.X.toarray()
    adata.write_h5ad(tmp_path / "a.h5ad")
    config = PrepareConfig(unit="log1p_cp10k") if kind == "logs" else COUNTS
    store = write_store([tmp_path / "a.h5ad"], tmp_path / "store", config)
    assert store.arrays["data"].dtype == ("uint16" if kind in ("counts", "dense") else "float32")
    source = store.arrays["source"]
    assert sorted(source) == list(range(200))
    dense = np.asarray(adata.X.todense() if kind != "dense" else adata.X)
    np.testing.assert_array_equal(store.dense(np.arange(200)), dense[source])
    obs = adata.obs.iloc[source]
    labels = store.conditions["perturbation"].to_numpy()[store.arrays["condition"]]
    assert (labels == obs["perturbation"].to_numpy()).all()
    assert ([store.batches[b] for b in store.arrays["batch"]] == obs["batch"].to_numpy()).all()
    assert (np.diff(store.arrays["condition"]) >= 0).all()
    assert store.conditions["n_cells"].sum() == 200
    CellStore.open(tmp_path / "store", verify=True)


def test_rows_in_any_order_and_normalized(rng, tmp_path):
    adata = make(rng)
    adata.write_h5ad(tmp_path / "a.h5ad")
    store = write_store([tmp_path / "a.h5ad"], tmp_path / "store", COUNTS)
    rows = rng.integers(0, 200, 64)
    expected = log_normalized(adata.X).toarray()[store.arrays["source"][rows]]
    np.testing.assert_allclose(store.dense(rows, log=True), expected, rtol=1e-6)
    with pytest.raises(SchemaError, match="200 cells"):
        store.dense(np.array([200]))


def test_controls_match_context_and_batch(rng, tmp_path):
    adata = make(rng)
    odd = (adata.obs["context"] == "Y") & (adata.obs["batch"] == "2")
    adata.obs.loc[odd & (adata.obs["perturbation"] == "control"), "perturbation"] = "A"
    adata.write_h5ad(tmp_path / "a.h5ad")
    store = write_store([tmp_path / "a.h5ad"], tmp_path / "store", COUNTS)
    rows = np.arange(200)
    found = store.matched_controls(rows, rng)
    obs = adata.obs.iloc[store.arrays["source"]]
    mine, theirs = obs.iloc[rows], obs.iloc[found]
    assert (theirs["perturbation"] == "control").all()
    assert (mine["context"].to_numpy() == theirs["context"].to_numpy()).all()
    same = mine["batch"].to_numpy() == theirs["batch"].to_numpy()
    alone = (mine["context"] == "Y").to_numpy() & (mine["batch"] == "2").to_numpy()
    assert same[~alone].all()
    again = store.matched_controls(rows, np.random.default_rng(3))
    np.testing.assert_array_equal(again, store.matched_controls(rows, np.random.default_rng(3)))
    assert len(set(again)) > 10


def test_where_and_several_files(rng, tmp_path):
    first, second = make(rng), make(rng)
    first.obs["purity"], second.obs["purity"] = rng.random(200), rng.random(200)
    order = rng.permutation(9)
    first.write_h5ad(tmp_path / "a.h5ad")
    second[:, order].copy().write_h5ad(tmp_path / "b.h5ad")
    config = COUNTS.replace(where=["purity>=0.5"])
    store = write_store([tmp_path / "a.h5ad", tmp_path / "b.h5ad"], tmp_path / "s", config)
    both = np.vstack([first.X.toarray(), second.X.toarray()])
    purity = np.r_[first.obs["purity"], second.obs["purity"]]
    np.testing.assert_array_equal(store.dense(np.arange(store.n_cells)),
                                  both[store.arrays["source"]])  # fmt: skip
    assert sorted(store.arrays["source"]) == np.flatnonzero(purity >= 0.5).tolist()


def test_the_shuffle_is_true_complete_and_the_same_after_a_restart():
    cells = ShuffledCells(1003, 10, seed=1)
    first = np.concatenate(list(cells.epoch(0)))
    assert len(set(first)) == len(first) == 1000
    assert not np.array_equal(first, np.concatenate(list(cells.epoch(1))))
    assert np.abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.1
    again = np.concatenate(list(cells.epoch(0, start=37)))
    np.testing.assert_array_equal(again, first[370:])
    ranks = [ShuffledCells(1003, 10, 1, rank=r, n_ranks=3) for r in range(3)]
    parts = [np.concatenate(list(r.epoch(0))) for r in ranks]
    assert {len(p) for p in parts} == {330}
    assert len(set(np.concatenate(parts))) == 990
    with pytest.raises(ConfigError, match="fill one batch"):
        ShuffledCells(5, 10, 0)
    with pytest.raises(ConfigError, match="numbered from 0"):
        ShuffledCells(50, 10, 0, rank=2, n_ranks=2)


def test_damage_is_said(rng, tmp_path):
    make(rng).write_h5ad(tmp_path / "a.h5ad")
    folder = tmp_path / "s"
    store = write_store([tmp_path / "a.h5ad"], folder, COUNTS)
    with pytest.raises(FileError, match="holds a cell store"):
        write_store([tmp_path / "a.h5ad"], folder, COUNTS)
    del store
    content = (folder / "indices.bin").read_bytes()
    (folder / "indices.bin").write_bytes(content[:-2])
    with pytest.raises(FileError, match="cut short"):
        CellStore.open(folder)
    (folder / "indices.bin").write_bytes(content[:-2] + b"\x00\x01")
    with pytest.raises(FileError, match="has changed"):
        CellStore.open(folder, verify=True)
    about = json.loads((folder / "manifest.json").read_text())
    about["arrays"]["data"]["dtype"] = "object"
    (folder / "manifest.json").write_text(json.dumps(about))
    with pytest.raises(FileError, match="does not describe"):
        CellStore.open(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(FileError, match=r"manifest\.json"):
        CellStore.open(folder)
    adata = make(rng)
    adata.X.data[0] = 0.5
    adata.write_h5ad(tmp_path / "b.h5ad")
    with pytest.raises(UnitError, match="fractional"):
        write_store([tmp_path / "b.h5ad"], tmp_path / "t", COUNTS)
    with pytest.raises(FileError):
        CellStore.open(tmp_path / "t")
