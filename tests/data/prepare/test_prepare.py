"""The streaming pass equals the one in memory, filters, resumes to the bit, refuses in words."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from perturbkit.core.errors import (
    ConfigError,
    FileError,
    PerturbkitError,
    SchemaError,
    UnitError,
    UnknownNameError,
)
from perturbkit.data.prepare import PrepareConfig, plan_of, prepare
from perturbkit.data.profiles import pseudobulk
from perturbkit.data.read.rows import H5Matrix
from perturbkit.data.screens import open_screen

COUNTS = PrepareConfig(unit="counts")


def make(rng, n=400, g=30, **columns) -> ad.AnnData:
    names = [f"G{i}" for i in range(g - 2)] + ["MT-A", "mt-B"]
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(["control", "G1", "G2", "G1+G3"], n),
            "context": rng.choice(["X", "Y"], n),
            "batch": rng.choice(["1", "2"], n),
        }
        | columns,
        index=[f"c{i}" for i in range(n)],
    )
    x_ng = rng.poisson(rng.gamma(1, 1.5, g), (n, g)).astype(np.float32)
    x_ng[:, 0] += 1  # no empty cell
    x_ng[(obs["perturbation"] == "G2").to_numpy(), 2] = 0
    return ad.AnnData(sparse.csr_matrix(x_ng), obs=obs, var=pd.DataFrame(index=names))


@pytest.fixture
def written(rng, tmp_path):
    def write(name="a.h5ad", adata=None, **columns):
        adata = make(rng, **columns) if adata is None else adata
        adata.write_h5ad(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("layout", [sparse.csr_matrix, np.asarray, "int64"])
def test_the_stream_equals_the_pass_in_memory(rng, written, tmp_path, layout):
    adata = make(rng)
    if layout == "int64":
        adata.X = adata.X.astype(np.int64)
    else:
        adata.X = layout(adata.X.toarray())
    path = written(adata=adata)
    found = prepare([path], tmp_path / "out", COUNTS).adata
    expected = pseudobulk(open_screen(path, unit="counts"), rng).adata
    found = found[expected.obs_names]
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-6)
    for layer in ("var", "fraction"):
        np.testing.assert_allclose(found.layers[layer], expected.layers[layer], rtol=1e-5)
    assert found.obs["n_cells"].tolist() == expected.obs["n_cells"].tolist()
    middle = (found.layers["half_a"] + found.layers["half_b"]) / 2
    assert np.abs(middle - found.X).max() < 0.2
    assert np.abs(found.layers["half_a"] - found.layers["half_b"]).max() > 0.01
    batches = open_screen(tmp_path / "out" / "batches.h5ad").adata
    assert batches.n_obs == 16
    whole = batches[(batches.obs["perturbation"] == "G1") & (batches.obs["context"] == "X")]
    mean = np.average(whole.X, axis=0, weights=whole.obs["n_cells"])
    np.testing.assert_allclose(mean, found["G1 | X"].X[0], rtol=1e-5)


def test_chunks_of_any_size_and_memory_give_the_same_profiles(rng, written, tmp_path, monkeypatch):
    path = written()
    first = prepare([path], tmp_path / "a", COUNTS).adata
    chunks_of(monkeypatch, 50)
    second = prepare([path], tmp_path / "b", COUNTS).adata
    np.testing.assert_allclose(first.X, second.X, rtol=1e-6)
    np.testing.assert_allclose(first.layers["half_a"], second.layers["half_a"], rtol=1e-6)


def chunks_of(monkeypatch, n_values):
    edges = H5Matrix.edges
    monkeypatch.setattr(H5Matrix, "edges", lambda self, n, start=0: edges(self, n_values, start))


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [40, 200, 390])
def test_a_stopped_run_goes_on_to_the_same_bits(rng, written, tmp_path, monkeypatch, stop_at):
    chunks_of(monkeypatch, 300)
    files = [written("a.h5ad"), written("b.h5ad")]
    config = COUNTS.replace(checkpoint_s=0.0)
    whole = prepare(files, tmp_path / "whole", config)
    read = []

    def watch(what, done, total):
        read.append(done)
        if done >= stop_at and len(read) < 1000:
            raise Stop

    with pytest.raises(Stop):
        prepare(files, tmp_path / "out", config, watch)
    assert not (tmp_path / "out" / "profiles.h5ad").exists()
    seen = []
    again = prepare(files, tmp_path / "out", config, lambda what, done, total: seen.append(done))
    assert min(seen) > stop_at - 30, "it goes on, it does not start again"
    for layer in (None, "var", "half_a", "half_b", "fraction"):
        a, b = (s.adata.X if layer is None else s.adata.layers[layer] for s in (whole, again))
        np.testing.assert_array_equal(a, b)
    for name in ("de.parquet", "prepare.json"):
        first, second = ((tmp_path / f / name).read_bytes() for f in ("whole", "out"))
        assert first == second
    assert not (tmp_path / "out" / "state.npz").exists()


def test_another_setting_or_a_damaged_state_does_not_go_on(written, tmp_path):
    path = written()
    config = COUNTS.replace(checkpoint_s=0.0)

    def stop(what, done, total):
        raise Stop

    with pytest.raises(Stop):
        prepare([path], tmp_path / "out", config, stop)
    other = prepare([path], tmp_path / "out", config.replace(min_genes=20))
    clean = prepare([path], tmp_path / "clean", config.replace(min_genes=20))
    np.testing.assert_array_equal(other.adata.X, clean.adata.X)
    with pytest.raises(Stop):
        prepare([path], tmp_path / "cut", config, stop)
    state = tmp_path / "cut" / "state.npz"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(FileError, match="start again"):
        prepare([path], tmp_path / "cut", config)


def test_files_of_one_screen_are_one_screen_whatever_the_order_of_genes(rng, written, tmp_path):
    adata = make(rng)
    split = rng.permutation(400)
    first = adata[split[:150]].copy()
    second = adata[split[150:]].copy()[:, rng.permutation(30)].copy()
    parts = [written("a.h5ad", first), written("b.h5ad", second)]
    both = prepare(parts, tmp_path / "both", COUNTS).adata
    one = prepare([written("one.h5ad", adata)], tmp_path / "one", COUNTS).adata
    both = both[one.obs_names]
    assert list(both.var_names) == list(one.var_names)
    np.testing.assert_allclose(both.X, one.X, rtol=1e-6)
    batches = open_screen(tmp_path / "both" / "batches.h5ad").adata.obs["batch"]
    assert set(batches) == {"a:1", "a:2", "b:1", "b:2"}
    short = written("short.h5ad", adata[:, :20].copy())
    with pytest.raises(SchemaError, match="lacks 10 of its own"):
        prepare([parts[0], short], tmp_path / "no", COUNTS)


def test_filters_leave_out_what_they_say_and_count_it(rng, written, tmp_path):
    adata = make(rng, purity=rng.random(400), guide=rng.choice(["g1", "g2"], 400))
    x_ng = adata.X.toarray()
    x_ng[:5] = 0
    x_ng[5:9, 3] = 50_000
    x_ng[9:12, -2:] = 300
    adata.X = sparse.csr_matrix(x_ng)
    adata.obs.loc[adata.obs_names[:20], ["purity", "guide"]] = [0.9, "g1"]
    config = COUNTS.replace(mads=5.0, max_mito=0.5, where=["purity>=0.25", "guide!=g2"])
    prepare([written(adata=adata)], tmp_path / "out", config)
    report = json.loads((tmp_path / "out" / "prepare.json").read_text())
    let_in = (adata.obs["purity"] >= 0.25) & (adata.obs["guide"] != "g2")
    assert report["left_out_by_where"] == int((~let_in).sum())
    assert report["left_out_by_counts"] == 5
    assert report["left_out_by_mito"] == 3
    assert report["left_out_by_mads"] >= 4
    assert report["cells_read"] == 400
    left = [v for k, v in report.items() if k.startswith("left_out")]
    assert report["cells_kept"] == 400 - sum(left)
    x_ng = adata.X.toarray()[let_in.to_numpy()]
    kept = open_screen(tmp_path / "out" / "profiles.h5ad").adata.obs["n_cells"].sum()
    assert kept == report["cells_kept"]


def test_knockdown_is_measured_and_can_be_asked_for(rng, written, tmp_path):
    path = written()
    screen = prepare([path], tmp_path / "all", COUNTS)
    falls = screen.adata.obs["knockdown"]
    assert falls["G2 | X"] == 1.0
    assert abs(falls["G1 | X"]) < 0.5
    assert np.isnan(falls["control | X"])
    strict = prepare([path], tmp_path / "strict", COUNTS.replace(min_knockdown=0.9))
    assert set(strict.perturbations) == {"control", "G2"}
    with pytest.raises(SchemaError, match="none of 6 conditions"):
        prepare([path], tmp_path / "none", COUNTS.replace(min_cells=1000))


def test_variable_readouts_are_kept_and_so_are_all_targets(rng, written, tmp_path):
    adata = make(rng, n=1500)
    x_ng = adata.X.toarray()
    x_ng[:, 20] = rng.permutation(np.r_[np.zeros(750), np.full(750, 4)])
    adata.X = sparse.csr_matrix(x_ng)
    found = prepare([written(adata=adata)], tmp_path / "out", COUNTS.replace(n_variable=3))
    assert {"G20", "G1", "G2", "G3"} <= set(found.readouts)
    assert len(found.readouts) <= 6
    table = pl.read_parquet(tmp_path / "out" / "de.parquet")
    assert set(table["readout"].unique()) == set(found.readouts)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"unit": None}, UnitError, "look like counts"),
        ({"unit": "signed_rank"}, UnitError, "signed ranks"),
        ({"perturbation": "gene"}, SchemaError, "no column of obs named 'gene'"),
        ({"control": "NT"}, SchemaError, "no control label named 'NT'"),
        ({"layer": "raw"}, UnknownNameError, "layer"),
        ({"where": ["purity"]}, ConfigError, "column>=value"),
        ({"where": ["purity>=1"]}, SchemaError, "purity"),
        ({"where": ["context>=1"]}, ConfigError, "order of text"),
        ({"max_memory_mb": 64}, ConfigError, "need about"),
        ({"min_counts": 1e9}, SchemaError, "no control cell"),
    ],
)
def test_what_cannot_be_prepared_is_one_clear_line(written, tmp_path, change, error, match):
    path = written()
    with pytest.raises(error, match=match) as caught:
        prepare([path], tmp_path / "out", COUNTS.replace(**change))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "profiles.h5ad").exists()


def test_faulty_files_are_one_clear_line(rng, written, tmp_path):
    adata = make(rng)
    adata.X = sparse.csc_matrix(adata.X)
    with pytest.raises(FileError, match=r"perturbkit check a\.h5ad --fix"):
        prepare([written(adata=adata)], tmp_path / "out", COUNTS)
    adata.X = sparse.csr_matrix(adata.X) * 0.5
    with pytest.raises(UnitError, match="fractional"):
        prepare([written(adata=adata)], tmp_path / "out", COUNTS)
    adata.X.data[0] = np.nan
    with pytest.raises(UnitError, match="NaN"):
        prepare([written(adata=adata)], tmp_path / "out", COUNTS)
    path = written(adata=make(rng))
    content = path.read_bytes()
    for keep in np.linspace(0, 0.98, 12):
        path.write_bytes(content[: int(keep * len(content))])
        with pytest.raises(FileError):
            prepare([path], tmp_path / "out", COUNTS)
    said = []
    for _ in range(30):
        damaged = bytearray(content)
        for at in rng.integers(8, len(content), 40):
            damaged[at] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            prepare([path], tmp_path / f"out{len(said)}", COUNTS)
            said.append("")
        except PerturbkitError as error:
            said.append(str(error))
    assert any(said)
    path.write_bytes(content)
    prepare([path], tmp_path / "done", COUNTS)
    with pytest.raises(FileError, match="holds a prepared screen"):
        prepare([path], tmp_path / "done", COUNTS)


def test_the_plan_says_what_will_be_read(written):
    size = plan_of([written()], COUNTS)
    assert (size.n_cells, size.n_readouts, size.n_conditions, size.n_groups) == (400, 30, 8, 16)
    assert "400 cells x 30 readouts" in size.text()
    assert size.peak_bytes < 1.5e9


def test_log_data_and_other_columns(rng, written, tmp_path):
    adata = make(rng)
    adata.X.data = np.log1p(adata.X.data)
    adata.obs = adata.obs.rename(columns={"perturbation": "gene", "context": "line"})
    adata.obs["gene"] = pd.Categorical(adata.obs["gene"].replace("control", "NT"))
    adata.obs["dose"] = np.where(adata.obs["gene"] == "G1", 2.5, np.nan)
    config = PrepareConfig(unit="log1p_cp10k", perturbation="gene", context="line", control="NT",
                           dose_um="dose", kind="crispri")  # fmt: skip
    found = prepare([written(adata=adata)], tmp_path / "out", config)
    assert "G1@2.5uM | X" in found.adata.obs_names
    assert set(found.adata.obs["kind"]) == {"crispri"}
    rows = ((adata.obs["gene"] == "NT") & (adata.obs["line"] == "Y")).to_numpy()
    np.testing.assert_allclose(found.adata["control | Y"].X[0], adata.X[rows].toarray().mean(0),
                               rtol=1e-5)  # fmt: skip


SCRIPT = """
import sys
from perturbkit.data.prepare import PrepareConfig, prepare
from perturbkit.data.read.rows import H5Matrix
edges = H5Matrix.edges
H5Matrix.edges = lambda self, n, start=0: edges(self, 200, start)

def watch(what, done, total):
    print(done, flush=True)
    if done >= 100:
        sys.stdin.readline()  # wait to be killed

prepare([sys.argv[1]], sys.argv[2], PrepareConfig(unit="counts", checkpoint_s=0.0), watch)
"""


def test_a_killed_process_goes_on_to_the_same_bits(written, tmp_path, monkeypatch):
    import subprocess
    import sys

    path, config = written(), COUNTS.replace(checkpoint_s=0.0)
    command = [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if int(line) >= 100:
                break
        process.kill()
    assert (tmp_path / "out" / "state.npz").exists()
    assert not (tmp_path / "out" / "profiles.h5ad").exists()
    chunks_of(monkeypatch, 200)
    seen = []
    again = prepare([path], tmp_path / "out", config, lambda what, done, total: seen.append(done))
    assert min(seen) >= 100
    whole = prepare([path], tmp_path / "whole", config)
    np.testing.assert_array_equal(again.adata.X, whole.adata.X)
    np.testing.assert_array_equal(again.adata.layers["half_a"], whole.adata.layers["half_a"])
