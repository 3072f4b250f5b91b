"""Vectors from files: every format gives the same numbers, none may run code."""

import json
import pickle

import h5py
import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file

from perturbkit.core.errors import FileError, SchemaError
from perturbkit.genes.embed import embed

NAMES = ["A", "B", "C", "D"]
FORMATS = ["npy", "pt", "pt names", "pt matrix", "safetensors", "safetensors matrix", "parquet",
           "parquet list", "h5", "txt"]  # fmt: skip


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 6)).astype(np.float32)


def write(folder, kind, x):
    path = folder / f"table.{kind.split()[0]}"
    if kind == "npy":
        np.save(path, x)
        (folder / "table.names.txt").write_text("\n".join(NAMES))
    elif kind == "pt":
        torch.save(dict(zip(NAMES, torch.from_numpy(x), strict=True)), path)
    elif kind == "pt names":
        torch.save({"names": NAMES, "values": torch.from_numpy(x)}, path)
    elif kind == "pt matrix":
        torch.save(torch.from_numpy(x), path)
        np.save(folder / "gene_names.npy", np.array(NAMES))
    elif kind == "safetensors":
        save_file(dict(zip(NAMES, x, strict=True)), path)
    elif kind == "safetensors matrix":
        save_file({"values": x}, path, metadata={"names": json.dumps(NAMES)})
    elif kind == "parquet":
        table = pl.DataFrame(x, schema=[f"d{i}" for i in range(6)], orient="row")
        table.insert_column(0, pl.Series("gene", NAMES)).write_parquet(path)
    elif kind == "parquet list":
        pl.DataFrame({"gene": NAMES, "vector": x.tolist()}).write_parquet(path)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["names"], file["values"] = NAMES, x
    else:
        lines = [f"{n} {' '.join(map(str, row))}" for n, row in zip(NAMES, x, strict=True)]
        path.write_text("4 6\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_vectors(tmp_path, rng, x, kind):
    path = write(tmp_path, kind, x)
    whole = embed("table", str(path), rng)
    assert sorted(whole.names) == NAMES
    np.testing.assert_allclose(whole.within(NAMES).values, x, rtol=1e-6)
    some = embed("table", path, rng, names=["C", "nobody", "A"])
    assert some.missing == ("nobody",)
    np.testing.assert_allclose(some.within(["C", "A"]).values, x[[2, 0]], rtol=1e-6)


@pytest.mark.parametrize("kind", FORMATS)
def test_files_cut_short_are_refused(tmp_path, rng, x, kind):
    path = write(tmp_path, kind, x)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])
    with pytest.raises((FileError, SchemaError), match="table"):
        embed("table", path, rng)


def test_large_matrices_stay_on_disk(tmp_path, rng):
    path = tmp_path / "esm.npy"
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(50, 5120))
    matrix[:] = rng.normal(size=(50, 5120))
    matrix.flush()
    (tmp_path / "esm.names.txt").write_text("\n".join(f"g{i}" for i in range(50)))
    features = embed("esm2", path, rng)
    base = features.values
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert features.name == "ESM2"


class Hostile:
    def __reduce__(self):
        return (print, ("code ran",))


def test_code_in_files_is_never_run(tmp_path, rng, capsys):
    np.save(tmp_path / "a.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"A": Hostile()}))
    torch.save({"A": Hostile()}, tmp_path / "c.pt")
    for name in ("a.npy", "b.pt", "c.pt"):
        with pytest.raises(FileError, match="never loaded"):
            embed("table", tmp_path / name, rng)
    assert "code ran" not in capsys.readouterr().out


def test_faults_are_named(tmp_path, rng, x):
    path = write(tmp_path, "npy", x)
    (tmp_path / "table.names.txt").write_text("A\nB\n")
    with pytest.raises(SchemaError, match=r"2 names for an array of shape \(4, 6\)"):
        embed("table", path, rng)
    (tmp_path / "table.names.txt").unlink()
    with pytest.raises(FileError, match="holds no names"):
        embed("table", path, rng)
    with pytest.raises(FileError, match="no embedding file"):
        embed("table", tmp_path / "absent.npy", rng)
    (tmp_path / "t.xyz").write_text("a")
    with pytest.raises(FileError, match=r"'\.xyz'"):
        embed("table", tmp_path / "t.xyz", rng)
    with pytest.raises(SchemaError, match="length 6; 200 are expected"):
        embed("gene2vec", write(tmp_path, "txt", x), rng)
    torch.save({"A": torch.zeros(3), "B": torch.zeros(4)}, tmp_path / "u.pt")
    with pytest.raises(SchemaError, match="all need one length"):
        embed("table", tmp_path / "u.pt", rng)
    (tmp_path / "v.txt").write_text("A 1 2\nB 1\n")
    with pytest.raises(SchemaError, match="line 2 has 1 numbers"):
        embed("table", tmp_path / "v.txt", rng)
    (tmp_path / "w.txt").write_text("A 1 x\n")
    with pytest.raises(SchemaError, match="numbers only"):
        embed("table", tmp_path / "w.txt", rng)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["other"] = [1]
    with pytest.raises(SchemaError, match="names"):
        embed("table", tmp_path / "x.h5", rng)
    pl.DataFrame({"a": [1.0]}).write_parquet(tmp_path / "y.parquet")
    with pytest.raises(SchemaError, match="no text column"):
        embed("table", tmp_path / "y.parquet", rng)
