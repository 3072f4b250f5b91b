"""Every format reads back what was written; damage is one clear line."""

import gzip
import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import io, sparse

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import FileError, PerturbkitError, SchemaError, UnknownNameError
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.profiles import responses_of
from perturbkit.data.read.gctx import read_gctx
from perturbkit.data.read.tables import write_long
from perturbkit.data.screens import open_screen


def write_gctx(path, x_ng, profiles, readouts, chunks=None):
    with h5py.File(path, "w") as file:
        file.create_dataset("0/DATA/0/matrix", data=x_ng.astype(np.float32), chunks=chunks)
        file["0/META/COL/id"] = np.array(profiles, "S")
        file["0/META/ROW/id"] = np.array(readouts, "S")
        file["0/META/COL/pert_iname"] = np.array([f"P{i % 3} " for i in range(len(profiles))], "S")
        file["0/META/COL/pert_type"] = np.array(["trt_sh"] * len(profiles), "S")
        file["0/META/COL/pert_time"] = np.full(len(profiles), 96)


@pytest.mark.parametrize("chunks", [None, (7, 5)])
def test_gctx_reads_any_part_in_any_order(rng, tmp_path, chunks):
    x_ng = rng.normal(size=(60, 20)).astype(np.float32)
    profiles, readouts = [f"s{i}" for i in range(60)], [f"g{i}" for i in range(20)]
    write_gctx(tmp_path / "x.gctx", x_ng, profiles, readouts, chunks)
    whole = read_gctx(tmp_path / "x.gctx")
    np.testing.assert_array_equal(whole.X, x_ng)
    for _ in range(5):
        rows, columns = rng.permutation(60)[:23], rng.permutation(20)[:9]
        part = read_gctx(tmp_path / "x.gctx", profiles=[profiles[i] for i in rows],
                         readouts=[readouts[i] for i in columns])  # fmt: skip
        np.testing.assert_array_equal(part.X, x_ng[rows][:, columns])
        assert list(part.var_names) == [readouts[i] for i in columns]
    assert whole.obs["pert_iname"].iloc[1] == "P1"
    with pytest.raises(UnknownNameError, match="readout"):
        read_gctx(tmp_path / "x.gctx", readouts=["g99"])
    screen = open_screen(tmp_path / "x.gctx", unit="zscore", convention="l1000")
    assert screen.level == "profiles"
    assert screen.adata.obs["time_h"].unique().tolist() == [96.0]
    assert responses_of(screen).keys == [f"P{i}@96h | default" for i in range(3)]


def test_a_long_table_goes_out_and_comes_back(rng, tmp_path):
    conditions = condition_table([Condition(("A",), "X", dose_um=1.0), Condition(("A", "B"), "Y"),
                                  Condition(context="Y")])  # fmt: skip
    values = rng.normal(size=(1, 3, 4)).astype(np.float32)
    values[0, 1, 2] = np.nan
    responses = Responses(values, conditions, Vocabulary(list("abcd")), "zscore")
    write_long(responses, tmp_path / "long.parquet")
    again = responses_of(open_screen(tmp_path / "long.parquet", unit="zscore"))
    assert again.keys == responses.keys
    np.testing.assert_array_equal(again.mean_cg, responses.mean_cg)
    table = pl.read_parquet(tmp_path / "long.parquet")
    assert table.height == 11
    pl.concat([table, table]).write_csv(tmp_path / "twice.tsv", separator="\t")
    twice = responses_of(open_screen(tmp_path / "twice.tsv", unit="zscore"))
    np.testing.assert_allclose(twice.mean_cg, responses.mean_cg, rtol=1e-6)


def test_matrices_and_gene_summaries(tmp_path):
    (tmp_path / "m.csv").write_text(
        "perturbation,context,dose_um,g1,g2\nA,X,1.5,1,2\ncontrol,X,,3,\n"
    )
    screen = open_screen(tmp_path / "m.csv", unit="zscore")
    assert list(screen.readouts) == ["g1", "g2"]
    assert screen.level == "profiles"
    assert responses_of(screen).keys == ["A@1.5uM | X", "control | X"]
    assert np.isnan(screen.adata.X[1, 1])
    (tmp_path / "s.gene_summary.txt").write_text("id\tnum\tneg|lfc\tpos|lfc\nA\t4\t-1.5\t-1.5\n")
    score = open_screen(tmp_path / "s.gene_summary.txt", unit="log2fc")
    assert score.adata.X.tolist() == [[-1.5]]
    (tmp_path / "bad.csv").write_text("gene,g1\nA,1\n")
    with pytest.raises(SchemaError, match="needs 'perturbation'"):
        open_screen(tmp_path / "bad.csv", unit="zscore")
    (tmp_path / "text.csv").write_text("perturbation,g1\nA,x\n")
    with pytest.raises(SchemaError, match="no column of numbers"):
        open_screen(tmp_path / "text.csv", unit="zscore")


GCT = """#1.3
2\t3\t1\t1
id\tsymbol\ts1\ts2\ts3
perturbation\tna\tA\tA\tB
g1\tS1\t1\t2\t3
g2\tS2\t4\tNA\t6
"""


def test_gct(tmp_path):
    (tmp_path / "x.gct").write_text(GCT)
    screen = open_screen(tmp_path / "x.gct", unit="zscore")
    assert responses_of(screen).mean_cg.tolist() == [[1.5, 4.0], [3.0, 6.0]]
    assert screen.adata.var["symbol"].tolist() == ["S1", "S2"]
    for fault in (GCT[:-8], GCT.replace("\t4\t", "\tx\t"), GCT.replace("2\t3", "9\t3"), "#1.3\n"):
        (tmp_path / "x.gct").write_text(fault)
        with pytest.raises(FileError, match="copy it again"):
            open_screen(tmp_path / "x.gct", unit="zscore")


def counts(rng):
    return sparse.csr_matrix(rng.poisson(1.0, (6, 4)).astype(np.float32))


def write_tenx(folder, x_ng, features):
    folder.mkdir()
    with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
        io.mmwrite(file, x_ng.T.astype(int))
    barcodes = "\n".join(f"BC{i}-1" for i in range(6))
    with gzip.open(folder / "barcodes.tsv.gz", "wt") as file:
        file.write(barcodes + "\n")
    with gzip.open(folder / "features.tsv.gz", "wt") as file:
        file.write("\n".join("\t".join(f) for f in features) + "\n")


FEATURES = [("E1", "A", "Gene Expression"), ("E2", "B", "Gene Expression"),
            ("E3", "B", "Gene Expression"), ("G1", "guide", "CRISPR Guide Capture")]  # fmt: skip


def test_tenx_folder_and_h5_hold_the_same_cells(rng, tmp_path):
    x_ng = counts(rng)
    write_tenx(tmp_path / "folder", x_ng, FEATURES)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        m = file.create_group("matrix")
        by_cell = x_ng.T.tocsc()
        m["data"], m["indices"], m["indptr"] = by_cell.data, by_cell.indices, by_cell.indptr
        m["shape"], m["barcodes"] = by_cell.shape, np.array([f"BC{i}-1" for i in range(6)], "S")
        m["features/id"], m["features/name"], m["features/feature_type"] = (
            np.array(c, "S") for c in zip(*FEATURES, strict=True)
        )
    (tmp_path / "labels.csv").write_text(
        "barcode,perturbation\n" + "".join(f"BC{i}-1,{'A' if i else 'control'}\n" for i in range(5))
    )
    for path in (tmp_path / "folder", tmp_path / "x.h5"):
        screen = open_screen(path, unit="counts", labels=str(tmp_path / "labels.csv"))
        assert list(screen.readouts) == ["A", "B-E2", "B-E3"]
        assert screen.adata.n_obs == 5
        np.testing.assert_array_equal(screen.adata.X.toarray(), x_ng.toarray()[:5, :3])
        with pytest.raises(SchemaError, match="no column 'perturbation'"):
            open_screen(path, unit="counts")
    (tmp_path / "labels.csv").write_text("barcode,perturbation\nzzz,A\n")
    with pytest.raises(UnknownNameError, match="name them alike"):
        open_screen(tmp_path / "folder", unit="counts", labels=str(tmp_path / "labels.csv"))


def test_broken_tenx_folders(rng, tmp_path):
    write_tenx(tmp_path / "a", counts(rng), FEATURES[:3])
    with pytest.raises(FileError, match="3 features"):
        open_screen(tmp_path / "a", unit="counts")
    write_tenx(tmp_path / "b", counts(rng), FEATURES)
    whole = (tmp_path / "b" / "matrix.mtx.gz").read_bytes()
    (tmp_path / "b" / "matrix.mtx.gz").write_bytes(whole[:40])
    with pytest.raises(FileError, match="no whole 10x folder"):
        open_screen(tmp_path / "b", unit="counts")
    (tmp_path / "b" / "barcodes.tsv.gz").unlink()
    with pytest.raises(FileError, match=r"holds matrix\.mtx, barcodes\.tsv"):
        open_screen(tmp_path / "b", unit="counts")


def test_zarr(rng, tmp_path):
    obs = pd.DataFrame({"perturbation": ["control", "A"] * 3}, index=[f"c{i}" for i in range(6)])
    adata = ad.AnnData(counts(rng), obs=obs, var=pd.DataFrame(index=list("wxyz")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr's coming defaults
        adata.write_zarr(tmp_path / "x.zarr")
    screen = open_screen(tmp_path / "x.zarr", unit="counts")
    assert screen.describe()["n_control_rows"] == 3


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.gctx", "x.rds", "x.h5"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"PAR1", b"a"])
def test_rubbish_is_one_clear_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PerturbkitError) as caught:
        open_screen(tmp_path / name, unit="counts")
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_gctx_is_one_clear_line(rng, tmp_path):
    path = tmp_path / "x.gctx"
    write_gctx(path, rng.normal(size=(6, 4)), list("uvwxyz"), list("abcd"))
    content = path.read_bytes()
    for keep in np.linspace(0, 0.99, 15):
        path.write_bytes(content[: int(keep * len(content))])
        with pytest.raises(FileError):
            open_screen(path, unit="zscore")


DESEQ = """gene,baseMean,log2FoldChange,lfcSE,stat,pvalue,padj
g1,10,1.5,0.5,3,0.01,0.02
g2,20,-2,0.5,-4,0.001,0.002
g3,0,NA,NA,NA,NA,NA
"""


def test_tables_of_differential_expression(tmp_path):
    (tmp_path / "stat1.csv").write_text(DESEQ)
    with pytest.raises(SchemaError, match="--set label=NAME"):
        open_screen(tmp_path / "stat1.csv", unit="log2fc")
    screen = open_screen(tmp_path / "stat1.csv", unit="log2fc", label="STAT1")
    assert screen.level == "profiles"
    np.testing.assert_array_equal(screen.adata.X, [[1.5, -2, np.nan]])
    np.testing.assert_allclose(screen.adata.layers["fdr"], [[0.02, 0.002, np.nan]], rtol=1e-6)
    assert set(screen.adata.layers) == {"p_value", "fdr", "standard_error"}
    scanpy = "group,names,scores,logfoldchanges,pvals,pvals_adj\nA,g1,3,1,0.1,0.2\nB,g1,1,2,1,1\n"
    (tmp_path / "scanpy.csv").write_text(scanpy)
    several = open_screen(tmp_path / "scanpy.csv", unit="log2fc")
    assert responses_of(several).keys == ["A | default", "B | default"]
    limma = "\tlogFC\tAveExpr\tt\tP.Value\tadj.P.Val\ng1\t0.5\t7\t2\t0.1\t0.1\n"
    (tmp_path / "limma.tsv").write_text(limma)
    assert open_screen(tmp_path / "limma.tsv", unit="log2fc", label="X").adata.X.tolist() == [[0.5]]


def test_our_own_differential_expression_reads_back(rng, tmp_path):
    from perturbkit.data.de import differential_expression

    obs = pd.DataFrame({"perturbation": ["control", "A"] * 20, "context": "T"})
    obs.index = [f"c{i}" for i in range(40)]
    x_ng = sparse.csr_matrix(rng.poisson(3.0, (40, 4)).astype(np.float32))
    ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=list("wxyz"))).write_h5ad(tmp_path / "a.h5ad")
    table = differential_expression(open_screen(tmp_path / "a.h5ad", unit="counts"))
    table.write_parquet(tmp_path / "de.parquet")
    again = open_screen(tmp_path / "de.parquet", unit="log2fc")
    assert responses_of(again).keys == ["A | T"]
    np.testing.assert_allclose(again.adata.X[0], table["log2fc"], rtol=1e-6)
    assert again.adata.layers["p_value"].shape == (1, 4)


def test_mageck_of_both_kinds_and_one_column_of_any_table(tmp_path):
    (tmp_path / "mle.txt").write_text("Gene\tsgRNA\tday7|beta\tday7|z\tday14|beta\nA\t4\t1\t2\t3\n")
    mle = open_screen(tmp_path / "mle.txt", unit="log2fc")
    assert (list(mle.readouts), mle.adata.X.tolist()) == (["day7", "day14"], [[1.0, 3.0]])
    (tmp_path / "old.csv").write_text("id,num,pos|score,pos|rank\nA,4,0.1,1\n")
    with pytest.raises(SchemaError, match="no fold change"):
        open_screen(tmp_path / "old.csv", unit="score")
    one = open_screen(tmp_path / "old.csv", unit="score", perturbation="id", value="pos|score")
    assert (list(one.readouts), one.perturbations[0]) == (["pos|score"], "A")
    (tmp_path / "tabs.csv").write_text("perturbation\tg1\tg2\nA\t1\t2\n")
    assert list(open_screen(tmp_path / "tabs.csv", unit="zscore").readouts) == ["g1", "g2"]
    with pytest.raises(SchemaError, match="did you mean 'g1'"):
        open_screen(tmp_path / "tabs.csv", unit="zscore", value="g11")


def test_a_folder_of_files_is_one_screen(rng, tmp_path):
    genes = list("wxyz")
    for name, order in (("A549", [0, 1, 2, 3]), ("K562", [3, 1, 0, 2])):
        obs = pd.DataFrame({"target_gene": ["non-targeting", "x"] * 3, "cell_type": name,
                            "gem_group": ["1", "1", "2"] * 2})  # fmt: skip
        obs.index = [f"c{i}" for i in range(6)]
        part = ad.AnnData(counts(rng), obs=obs, var=pd.DataFrame(index=genes))
        part[:, order].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    screen = open_screen(tmp_path, unit="counts", convention="cell_load")
    assert sorted(screen.contexts) == ["A549", "K562"]
    assert screen.adata.n_obs == 12
    first = ad.read_h5ad(tmp_path / "K562.h5ad")
    rows = screen.adata[screen.adata.obs["context"] == "K562"]
    np.testing.assert_array_equal(rows.X.toarray(), first[:, genes].X.toarray())
    first[:, :3].copy().write_h5ad(tmp_path / "K562.h5ad")
    with pytest.raises(SchemaError, match="lacks 1 of its own"):
        open_screen(tmp_path, unit="counts", convention="cell_load")
