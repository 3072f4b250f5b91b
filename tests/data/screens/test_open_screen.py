"""Screens open by name and by path; every fault is one clear line."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
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
from perturbkit.core.files import sha256
from perturbkit.data.read.h5ad import write_screen
from perturbkit.data.screens import SCREENS, open_screen

FILES = [name for name, card in SCREENS.items() if card.sha256]


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    x_ng = sparse.csr_matrix(rng.poisson(1.0, (30, 5)).astype(np.float32))
    obs = pd.DataFrame(
        {"perturbation": ["control", "A", "A+B"] * 10, "context": ["X", "Y"] * 15},
        index=[f"cell{i}" for i in range(30)],
    )
    return ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=list("ABCDE")))


@pytest.fixture
def op3_like(tmp_path):
    """A small file with the arrays of op3."""

    def write(**changes):
        arrays = {
            "ranks": np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4) * 1000,
            "cell_types": np.array(["B", "T"]),
            "compounds": np.array(["a", "(+)-JQ1", "x+y"]),
            "genes": np.array(["G1", "G2", "G3", "G4"]),
            "scale": np.float32(1 / 32767),
        } | changes
        path = tmp_path / "op3_signed_ranks_B_NK_T.npz"
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        return path

    return write


def test_the_simulated_screen_needs_no_file_and_is_a_function_of_its_seed():
    options = {"n_genes": 100, "n_perturbations": 5, "n_contexts": 2, "cells_per_condition": 4}
    known = {k: v for k, v in options.items() if k in _simulation_fields()}
    first, again, other = (open_screen("simulated", seed=s, **known) for s in (1, 1, 2))
    assert (first.adata.X != again.adata.X).nnz == 0
    assert first.adata.X.shape != other.adata.X.shape or (first.adata.X != other.adata.X).nnz
    with pytest.raises(ConfigError, match="n_geens"):
        open_screen("simulated", n_geens=3)


def _simulation_fields():
    from perturbkit.data.simulate import SimulationConfig

    return SimulationConfig.model_fields


@pytest.mark.parametrize("name", FILES)
def test_the_real_screens_are_what_their_cards_say(name, real_data, monkeypatch):
    monkeypatch.setenv("PERTURBKIT_DATA", str(real_data))
    card = SCREENS[name]
    assert sha256(real_data / card.file) == card.sha256
    screen = open_screen(name)
    assert screen.unit == card.unit
    about = screen.describe()
    for number in (about["n_rows"], about["n_readouts"]):
        assert f"{number:,}" in card.holds
    by_path = open_screen(str(real_data / card.file))
    assert by_path.describe() == about
    with pytest.raises(UnitError, match="drop the unit option"):
        open_screen(name, unit="zscore")
    with pytest.raises(ConfigError, match="wdith"):
        open_screen(name, wdith=3)


def test_what_the_real_screens_hold(real_data, monkeypatch):
    monkeypatch.setenv("PERTURBKIT_DATA", str(real_data))
    op3 = open_screen("op3")
    assert list(op3.contexts) == ["B", "NK", "T"]
    archive = np.load(real_data / SCREENS["op3"].file)
    where = list(archive["compounds"]).index("Ruxolitinib")
    row = op3.adata["Ruxolitinib | NK"].X[0]
    np.testing.assert_allclose(row, archive["ranks"][1, where] * archive["scale"], rtol=1e-6)
    papalexi = open_screen("papalexi2021")
    assert {"guide", "guide_umis"} <= set(papalexi.adata.obs)
    assert papalexi.adata.obs["batch"].nunique() == 3
    assert papalexi.describe()["n_control_rows"] == 2386
    devel = open_screen("perturbench_devel")
    kinds = devel.conditions.select("context", "kind").unique().rows()
    assert dict(kinds) == {c: "crispra" if c == "k562" else "crispri" for c in devel.contexts}
    assert sum("+" in p for p in devel.perturbations) == 15


def test_names_of_compounds_survive(op3_like):
    screen = open_screen(op3_like())
    assert list(screen.targets) == ["(+)-JQ1", "a", "x+y"]
    assert screen.adata.shape == (6, 4)
    assert screen.adata.X[0, 0] == np.float32(-12000) * np.float32(1 / 32767)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"genes": None}, SchemaError, "lacks the array"),
        ({"genes": np.array(["G1", "G2"])}, SchemaError, "need"),
        ({"genes": np.array(["G1", "G1", "G2", "G3"])}, SchemaError, "more than once"),
        ({"ranks": np.zeros((2, 3), np.int16)}, SchemaError, "3 axes"),
        ({"scale": np.float32(1)}, UnitError, r"\[-1, 1\]"),
        ({"compounds": np.array(["a", None, object()], object)}, FileError, "whole npz"),
    ],
)
def test_a_faulty_npz_is_one_clear_line(op3_like, changes, error, match):
    with pytest.raises(error, match=match) as caught:
        open_screen(op3_like(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 200, 0.5, 0.99])
def test_a_cut_npz_is_one_clear_line(op3_like, keep):
    path = op3_like()
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(FileError, match="not a whole npz file"):
        open_screen(path)


def test_any_h5ad_opens_with_its_unit_stated(adata, tmp_path):
    path = tmp_path / "mine.h5ad"
    adata.write_h5ad(path)
    with pytest.raises(UnitError, match=r"look like counts.*state --unit"):
        open_screen(path)
    with pytest.raises(UnitError, match="did you mean 'counts'"):
        open_screen(path, unit="count")
    with pytest.raises(UnitError, match="signed ranks"):
        open_screen(path, unit="signed_rank")
    screen = open_screen(str(path), unit="counts", kind="ko")
    assert list(screen.contexts) == ["X", "Y"]
    assert screen.unit == "counts"
    assert set(screen.adata.obs["kind"]) == {"ko"}


def test_a_written_screen_states_its_unit(adata, tmp_path):
    adata.write_h5ad(tmp_path / "mine.h5ad")
    screen = open_screen(tmp_path / "mine.h5ad", unit="counts")
    write_screen(screen, tmp_path / "again.h5ad")
    again = open_screen(tmp_path / "again.h5ad")
    assert again.describe() == screen.describe()
    assert again.conditions.equals(screen.conditions)
    with pytest.raises(UnitError, match="says its unit is counts"):
        open_screen(tmp_path / "again.h5ad", unit="zscore")


def test_columns_and_controls_of_other_names(adata, tmp_path):
    adata.obs = adata.obs.rename(columns={"perturbation": "gene", "context": "line"})
    adata.obs["gene"] = adata.obs["gene"].replace("control", "non-targeting")
    path = tmp_path / "mine.h5ad"
    adata.write_h5ad(path)
    with pytest.raises(SchemaError, match="gene, line"):
        open_screen(path, unit="counts")
    with pytest.raises(SchemaError, match="no row is a control"):
        open_screen(path, unit="counts", perturbation="gene")
    with pytest.raises(SchemaError, match="did you mean 'non-targeting'"):
        open_screen(path, unit="counts", perturbation="gene", control="non-targetting")
    screen = open_screen(
        path, unit="counts", perturbation="gene", context="line", control="non-targeting"
    )
    assert screen.describe()["n_control_rows"] == 10
    assert list(screen.contexts) == ["X", "Y"]
    with pytest.raises(ConfigError, match="perturbation"):
        open_screen(path, unit="counts", perturbaton="gene")


def test_every_cut_of_an_h5ad_is_one_clear_line(adata, tmp_path):
    whole = tmp_path / "whole.h5ad"
    adata.write_h5ad(whole)
    content = whole.read_bytes()
    cut = tmp_path / "cut.h5ad"
    for keep in np.linspace(0, 0.99, 25):
        cut.write_bytes(content[: int(keep * len(content))])
        with pytest.raises(FileError) as caught:
            open_screen(cut, unit="counts")
        assert "\n" not in str(caught.value)
        assert "again" in str(caught.value)


def test_a_damaged_h5ad_never_crashes(adata, tmp_path):
    whole, bad = tmp_path / "whole.h5ad", tmp_path / "bad.h5ad"
    adata.write_h5ad(whole)
    content = whole.read_bytes()
    rng, said = np.random.default_rng(0), []
    for _ in range(40):
        damaged = bytearray(content)
        for at in rng.integers(8, len(content), 60):
            damaged[at] = rng.integers(256)
        bad.write_bytes(bytes(damaged))
        try:
            open_screen(bad, unit="counts")
        except PerturbkitError as error:
            said.append(str(error))
    assert said
    assert not any("\n" in text for text in said)


def test_files_that_are_something_else(adata, tmp_path):
    with pytest.raises(FileError, match="folder"):
        open_screen(tmp_path)
    text = tmp_path / "mine.h5ad"
    text.write_text("gene,value\n")
    with pytest.raises(FileError, match="not HDF5"):
        open_screen(text, unit="counts")
    with pytest.raises(FileError, match="no screen at"):
        open_screen(tmp_path / "absent.h5ad")
    with pytest.raises(UnknownNameError, match="did you mean 'op3'"):
        open_screen("op4")
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["table"] = np.zeros(3)
    with pytest.raises(FileError, match="needs X, obs and var"):
        open_screen(tmp_path / "other.h5ad", unit="counts")
    adata.write_h5ad(tmp_path / "linked.h5ad")
    with h5py.File(tmp_path / "linked.h5ad", "a") as file:
        file["layers/stolen"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(FileError, match="links 'stolen' to another file"):
        open_screen(tmp_path / "linked.h5ad", unit="counts")


def test_a_data_folder_without_the_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PERTURBKIT_DATA", str(tmp_path))
    with pytest.raises(FileError, match="PERTURBKIT_DATA"):
        open_screen("op3")


def test_files_that_declare_more_than_there_is_are_refused_before_reading(adata, tmp_path):
    from perturbkit.data.prepare import PrepareConfig, prepare

    for name, shape in (("X", (10**7, 10**6)), ("obs/extra", (10**13,))):
        path = tmp_path / f"{name[:3].strip('/')}.h5ad"
        adata.write_h5ad(path)
        with h5py.File(path, "a") as file:
            if name in file:
                del file[name]
            file.create_dataset(name, shape, np.float32, chunks=True)
        assert path.stat().st_size < 1_000_000
        with pytest.raises(FileError, match="GB of memory are free"):
            open_screen(path, unit="counts")
    with pytest.raises(FileError, match="GB of memory are free"):
        prepare([tmp_path / "obs.h5ad"], tmp_path / "out", PrepareConfig(unit="counts"))
    adata.write_h5ad(tmp_path / "rows.h5ad")
    with h5py.File(tmp_path / "rows.h5ad", "a") as file:
        del file["X"]
        file.create_dataset("X", (10**13, 5), np.float32, chunks=True)
    with pytest.raises(FileError, match="more than fit in memory"):
        prepare([tmp_path / "rows.h5ad"], tmp_path / "out", PrepareConfig(unit="counts"))


def test_an_npz_that_would_unpack_to_too_much_is_refused(op3_like, monkeypatch):
    import zipfile

    from perturbkit.data.screens import _op3

    monkeypatch.setattr(_op3, "MAX_VALUES", 1_000_000)
    path = op3_like()
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", bytes(3_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(FileError, match="would unpack to"):
        open_screen(path)
