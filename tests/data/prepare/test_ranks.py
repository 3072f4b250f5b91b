"""Tests that are streamed from files equal those in memory, whatever the chunks and the files."""

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import sparse

from perturbkit.core.errors import SchemaError, UnitError
from perturbkit.data.de import differential_expression
from perturbkit.data.prepare import PrepareConfig, prepare, stream_de
from perturbkit.data.read.rows import H5Matrix
from perturbkit.data.screens import open_screen

KEY = ["perturbation", "context", "readout"]


def make(rng, n=500, g=25) -> ad.AnnData:
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(["control", "G1", "G2", "G1+G3"], n),
            "context": rng.choice(["X", "Y"], n),
            "batch": rng.choice(["1", "2", "3"], n),
        },
        index=[f"c{i}" for i in range(n)],
    )
    x_ng = rng.poisson(rng.gamma(1, 1.0, g), (n, g)).astype(np.float32)
    x_ng[:, 0] += 1
    x_ng[:, 7] = 0
    var = pd.DataFrame(index=[f"G{i}" for i in range(g)])
    return ad.AnnData(sparse.csr_matrix(x_ng), obs=obs, var=var)


def plain(table: pl.DataFrame) -> pl.DataFrame:
    text = [n for n, t in table.schema.items() if isinstance(t, pl.Enum | pl.Categorical)]
    return table.with_columns(pl.col(text).cast(pl.String)).sort(KEY)


@pytest.mark.parametrize("method", ["wilcoxon", "welch"])
@pytest.mark.parametrize("unit", ["counts", "zscore"])
def test_streamed_tests_equal_those_in_memory(rng, tmp_path, monkeypatch, method, unit):
    adata = make(rng)
    if unit == "zscore":
        adata.X = sparse.csr_matrix(np.round(rng.normal(size=adata.shape), 1).astype(np.float32))
    adata.write_h5ad(tmp_path / "whole.h5ad")
    split, order = rng.permutation(500), rng.permutation(25)
    adata[np.sort(split[:180])].copy().write_h5ad(tmp_path / "a.h5ad")
    adata[np.sort(split[180:])].copy()[:, order].copy().write_h5ad(tmp_path / "b.h5ad")
    expected = plain(differential_expression(open_screen(tmp_path / "whole.h5ad", unit=unit),
                                             method))  # fmt: skip
    edges = H5Matrix.edges
    monkeypatch.setattr(H5Matrix, "edges", lambda self, n, start=0: edges(self, 400, start))
    config = PrepareConfig(unit=unit, de=method, min_counts=0 if unit == "zscore" else 1)
    for files in (["whole.h5ad"], ["a.h5ad", "b.h5ad"]):
        stream_de([tmp_path / f for f in files], tmp_path / "de.parquet", config)
        found = plain(pl.read_parquet(tmp_path / "de.parquet"))
        assert_frame_equal(found, expected, rel_tol=1e-5, abs_tol=1e-6)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"whole.h5ad", "a.h5ad", "b.h5ad", "de.parquet"}


def test_a_prepared_screen_can_hold_rank_sums_of_its_variable_readouts(rng, tmp_path):
    make(rng).write_h5ad(tmp_path / "a.h5ad")
    config = PrepareConfig(unit="counts", de="wilcoxon", n_variable=8, mads=10.0)
    screen = prepare([tmp_path / "a.h5ad"], tmp_path / "out", config)
    table = pl.read_parquet(tmp_path / "out" / "de.parquet")
    assert set(table["readout"].unique()) == set(screen.readouts)
    whole = differential_expression(open_screen(tmp_path / "a.h5ad", unit="counts"))
    both = plain(table).join(plain(whole), on=KEY, suffix="_whole")
    np.testing.assert_allclose(both["p_value"], both["p_value_whole"], rtol=1e-9)
    assert (both["fdr"] <= both["fdr_whole"] + 1e-9).mean() > 0.5  # fewer tests
    without = config.replace(de="none")
    prepare([tmp_path / "a.h5ad"], tmp_path / "none", without)
    assert not (tmp_path / "none" / "de.parquet").exists()


def test_pseudobulk_of_files_equals_that_of_memory(rng, tmp_path):
    pytest.importorskip("pydeseq2")
    adata = make(rng)
    adata.obs["context"] = "X"
    adata.write_h5ad(tmp_path / "a.h5ad")
    config = PrepareConfig(unit="counts", de="pydeseq2")
    stream_de([tmp_path / "a.h5ad"], tmp_path / "de.parquet", config)
    expected = differential_expression(open_screen(tmp_path / "a.h5ad", unit="counts"), "pydeseq2")
    assert_frame_equal(plain(pl.read_parquet(tmp_path / "de.parquet")), plain(expected),
                       rel_tol=1e-5, abs_tol=1e-6)  # fmt: skip


def test_what_cannot_be_tested_is_refused_before_the_cells_are_read(rng, tmp_path):
    adata = make(rng)
    adata.X = adata.X.log1p()
    adata.write_h5ad(tmp_path / "a.h5ad")
    pytest.importorskip("pydeseq2")
    config = PrepareConfig(unit="log1p_cp10k", de="pydeseq2")
    with pytest.raises(UnitError, match="raw counts"):
        stream_de([tmp_path / "a.h5ad"], tmp_path / "de.parquet", config)
    adata.obs.loc[adata.obs["context"] == "Y", "perturbation"] = "G1"
    adata.write_h5ad(tmp_path / "b.h5ad")
    with pytest.raises(SchemaError, match="context 'Y' has no control"):
        stream_de([tmp_path / "b.h5ad"], tmp_path / "de.parquet",
                  PrepareConfig(unit="log1p_cp10k", de="wilcoxon"))  # fmt: skip
    assert not (tmp_path / "de.parquet").exists()
