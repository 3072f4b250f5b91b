"""Hostile and damaged files: one clear line from every reader, the doctor and prepare; no crash."""

import gzip
import json
import warnings
import zipfile

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from perturbkit.core.errors import PerturbkitError
from perturbkit.data.check import check, fix
from perturbkit.data.prepare import PrepareConfig, prepare
from perturbkit.data.screens import open_screen

N, G = 40, 6


def said(step) -> str:
    """Return the refusal of a step; anything but our own errors fails the test."""
    try:
        step()
    except PerturbkitError as error:
        return str(error)
    return ""


@pytest.fixture
def good(rng, tmp_path):
    obs = pd.DataFrame({"perturbation": ["control", "g1"] * (N // 2), "batch": "1"})
    obs.index = [f"c{i}" for i in range(N)]
    var = pd.DataFrame(index=[f"g{i}" for i in range(G)])
    x_ng = sparse.csr_matrix((1 + rng.poisson(2.0, (N, G))).astype(np.float32))
    ad.AnnData(x_ng, obs=obs, var=var).write_h5ad(tmp_path / "x.h5ad")
    return tmp_path / "x.h5ad"


def replaced(name, value):
    def change(file):
        attrs = dict(file[name].attrs)
        del file[name]
        file[name] = value
        file[name].attrs.update(attrs)

    return change


def huge(name, shape, dtype="f4"):
    def change(file):
        attrs = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, shape, dtype, chunks=True)
        file[name].attrs.update(attrs)

    return change


def attribute(name, key, value):
    def change(file):
        file[name].attrs[key] = value

    return change


def external(file):
    del file["X"]
    file["X"] = h5py.ExternalLink("/etc/passwd", "/X")


def loop(file):
    file["obs/again"] = h5py.SoftLink("/obs")


def far_columns(file):
    file["X/indices"][3] = 10_000


def negative_columns(file):
    file["X/indices"][3] = -5


def falling_pointers(file):
    file["X/indptr"][5] = 0


def not_text(file):
    index = file["var"].attrs["_index"]
    del file[f"var/{index}"]
    file[f"var/{index}"] = np.arange(G)


def not_utf8(file):
    index = file["obs"].attrs["_index"]
    attrs = dict(file[f"obs/{index}"].attrs)
    del file[f"obs/{index}"]
    names = np.array([b"\xff\xfe%d" % i for i in range(N)], dtype="S8")
    file[f"obs/{index}"] = names
    file[f"obs/{index}"].attrs.update(attrs)


H5 = {
    "rows that do not fit": attribute("X", "shape", np.array([N * 1000, G])),
    "no shape": lambda f: f["X"].attrs.__delitem__("shape"),
    "a shape of text": attribute("X", "shape", "many"),
    "three axes": attribute("X", "shape", np.array([N, G, 2])),
    "another encoding": attribute("X", "encoding-type", "tensor"),
    "a newer encoding": attribute("obs", "encoding-version", "9.9.9"),
    "values of text": replaced("X/data", np.array([b"a"] * 10)),
    "complex values": replaced("X/data", np.ones(N * G, np.complex64)),
    "huge values": huge("X/data", (10**12,)),
    "huge pointers": huge("X/indptr", (10**12,), "i8"),
    "huge labels": huge("obs/batch", (10**12,)),
    "a link to another file": external,
    "a link to itself": loop,
    "columns out of range": far_columns,
    "columns below zero": negative_columns,
    "pointers that fall": falling_pointers,
    "names that are numbers": not_text,
    "names that are no UTF-8": not_utf8,
    "no obs": lambda f: f.__delitem__("obs"),
    "obs is an array": replaced("obs", np.arange(N)),
    "a stamp of nonsense": lambda f: f.create_dataset("uns/perturbkit", data=np.arange(3)),
}


@pytest.mark.parametrize("name", list(H5))
def test_hostile_h5ad(name, good, tmp_path):
    with h5py.File(good, "a") as file:
        H5[name](file)
    steps = (
        lambda: open_screen(good, unit="counts"),
        lambda: prepare([good], tmp_path / "out", PrepareConfig(unit="counts")),
        lambda: fix(good, tmp_path / "fixed.h5ad"),
        lambda: prepare([good], tmp_path / "cl", PrepareConfig(unit="counts", convention="gears")),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of HDF5's own encodings
        report = check(good)
        json.dumps(report.plain(), allow_nan=False)
        for step in steps:
            assert "\n" not in said(step)


def bomb(path) -> None:
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b"perturbation,g1\n" + b"A,1\n" * 50_000)


TEXTS = {
    "x.csv": [b"", b"\n\n\n", b"a", b"perturbation\n", b"perturbation,g1\nA,1\nB\n",
              b"perturbation,perturbation\nA,B\n", b"perturbation,g1\nA,1e999\n", b"\xff\xfe,\x00",
              b"perturbation,readout,value\nA,g,x\n", b"perturbation,readout,value\n,g,1\n",
              b"perturbation,dose_um,g1\nA,high,1\n", b"=cmd(),<img onerror=x>\n1,2\n"],
    "x.gct": [b"#1.3\n999999999\t999999999\t1\t1\n", b"#1.2\n-1\t2\nx\n", b"#1.3\n1\t1\n",
              b"#1.2\nNaN\tNaN\n"],
    "x.parquet": [b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1"],
    "x.gmt": [b"", b"a\tb", b"\xff\xff\t\t\t"],
    "x.json": [b"{", b"[" * 5000, b"1"],
    "x.npz": [b"PK\x03\x04", b""],
    "x.csv.gz": [b"\x1f\x8b", b"no gzip"],
    "x.unknown": [b"hello", b""],
}  # fmt: skip


@pytest.mark.parametrize("name", list(TEXTS))
def test_hostile_texts(name, tmp_path):
    for content in TEXTS[name]:
        path = tmp_path / name
        path.write_bytes(content)
        report = check(path)
        assert report.text()
        json.dumps(report.plain(), allow_nan=False)
        assert "\n" not in said(lambda: open_screen(path, unit="zscore"))  # noqa: B023


def test_bombs_and_odd_names_are_survived(tmp_path):
    bomb(tmp_path / "x.csv.gz")
    assert "labels" in check(tmp_path / "x.csv.gz").facts
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        for i in range(2000):
            file.writestr(f"../../{i}.npy", b"")
    assert check(tmp_path / "x.npz").codes == {"no_screen"}
    assert not (tmp_path.parent.parent / "0.npy").exists()
    (tmp_path / "folder").mkdir()
    assert check(tmp_path / "folder").codes == {"unreadable"}
    (tmp_path / "folder" / "zarr.json").write_text("{")
    assert check(tmp_path / "folder").codes == {"unreadable"}
    (tmp_path / "folder" / "zarr.json").write_text('{"zarr_format": 9, "node_type": "group"}')
    assert check(tmp_path / "folder").codes == {"unreadable"}


def test_every_flipped_byte_is_one_clear_line_or_harmless(good, rng):
    content = good.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(40):
            damaged = bytearray(content)
            for at in rng.integers(8, len(content), 60):
                damaged[at] = rng.integers(256)
            good.write_bytes(bytes(damaged))
            json.dumps(check(good).plain(), allow_nan=False)
