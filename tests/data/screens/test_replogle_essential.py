"""The two published files of essential genes become mean z-scores of both lines."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from perturbkit.core.errors import FileError, SchemaError
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import _replogle2022_essential as module
from perturbkit.data.screens import open_screen


def write(path: Path, rng: np.random.Generator, genes: list[str], n: int) -> ad.AnnData:
    x = rng.normal(size=(n, len(genes))).astype(np.float32)
    x[0, 0] = np.inf
    labels = np.array(["non-targeting", "AAA", "BBB"])[np.arange(n) % 3]
    obs = pd.DataFrame({"gene": labels}, index=pd.Index([f"c{i}" for i in range(n)], dtype=object))
    index = pd.Index([f"ENS{i}" for i in range(len(genes))], dtype=object)
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame({"gene_name": genes}, index=index))
    adata.write_h5ad(path)
    return adata


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, ad.AnnData]:
    k562 = tmp_path / module.FILES["K562"]
    adata = write(k562, rng, ["g1", "g2", "g3"], 20)
    write(tmp_path / module.FILES["RPE1"], rng, ["g2", "g3", "g4"], 11)
    return k562, adata


def test_means_of_both_lines_with_gaps_where_a_line_lacks_a_readout(files, monkeypatch) -> None:
    path, adata = files
    monkeypatch.setattr(module, "_ROWS", 3)
    truth = responses_of(module.read(path, {}, np.random.default_rng(0)))
    assert truth.unit == "zscore"
    assert len(truth.keys) == 6
    row = truth.at(["AAA | K562"])
    x = adata.X[(adata.obs["gene"] == "AAA").to_numpy()].astype(np.float64)
    places = truth.readouts.encode(["g1", "g2", "g3"])
    np.testing.assert_allclose(row.mean_cg[0, places], x.mean(0), rtol=1e-5)
    assert np.isnan(row.mean_cg[0, truth.readouts.encode(["g4"])]).all()
    control = truth.at(["control | K562"]).mean_cg[0, places[0]]
    finite = np.where(np.isfinite(adata.X), adata.X, 0)[(np.arange(20) % 3) == 0, 0]
    np.testing.assert_allclose(control, finite.mean(), rtol=1e-5)


def test_the_name_of_the_screen_opens_the_files(files, monkeypatch) -> None:
    path, _ = files
    (path.parent / "replogle2022").mkdir()
    for name in module.FILES.values():
        (path.parent / name).rename(path.parent / "replogle2022" / name)
    monkeypatch.setenv("PERTURBKIT_DATA", str(path.parent))
    one = open_screen("replogle2022_essential", contexts=["RPE1"])
    assert set(one.adata.obs["context"]) == {"RPE1"}


def test_mistakes_are_named(files) -> None:
    path, adata = files
    rng = np.random.default_rng(0)
    with pytest.raises(SchemaError, match="HeLa"):
        module.read(path, {"contexts": ["HeLa"]}, rng)
    (path.parent / module.FILES["RPE1"]).unlink()
    with pytest.raises(FileError, match="RPE1"):
        module.read(path, {}, rng)
    del adata.obs["gene"]
    adata.write_h5ad(path)
    with pytest.raises(SchemaError, match="gene"):
        module.read(path, {"contexts": ["K562"]}, rng)
