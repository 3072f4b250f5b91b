"""Files of predictions of every kind, read and scored; submissions written and read back."""

import tarfile
from pathlib import Path

import anndata as ad
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from perturbkit.core.errors import FileError, SchemaError, UnitError
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen
from perturbkit.metrics.foreign import ForeignOptions, score_foreign
from perturbkit.metrics.vcc import log_normalized, read_submission, write_submission

SMALL = {"max_cells": 1000, "n_genes": 320}


@pytest.fixture(scope="module")
def files(small_adata, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    truth, predicted = small_adata
    truth.write_h5ad(folder / "real.h5ad")
    predicted.write_h5ad(folder / "pred.h5ad")
    changed = (predicted.obs["target_gene"] != "non-targeting").to_numpy()
    predicted[changed].copy().write_h5ad(folder / "bare.h5ad")
    write_submission(predicted, folder / "pred.prep.vcc", genes=list(truth.var_names), **SMALL)
    labels = predicted.obs["target_gene"].astype(str)
    names = sorted(set(labels))
    means = np.stack([predicted.X.toarray()[(labels == n).to_numpy()].mean(0) for n in names])
    table = pl.DataFrame(means, schema=list(predicted.var_names), orient="row")
    table = table.insert_column(0, pl.Series("target_gene", names))
    table.write_csv(folder / "means.csv")
    table.write_parquet(folder / "means.parquet")
    ad.AnnData(means, obs={"target_gene": names}, var=predicted.var).write_h5ad(
        folder / "means.h5ad"
    )
    return folder


def run(files: Path, name: str, **options):
    options = ForeignOptions.parse({"profile": "minimal"} | options)
    return score_foreign(
        files / name, files / "real.h5ad", options, rng=np.random.default_rng(0), n_bootstrap=20
    )


def test_cells_and_submission_score_the_same(files: Path) -> None:
    one, two = run(files, "pred.h5ad"), run(files, "pred.prep.vcc")
    assert one.table["value"].to_list() == pytest.approx(two.table["value"].to_list())
    assert one.complete
    assert {"metric", "value", "low", "high", "baseline", "ceiling", "reason"} <= set(
        one.table.columns
    )


def test_predictions_without_controls_score_the_same(files: Path) -> None:
    """The measured control is the origin of both sides, so the predicted one is not needed."""
    one, two = run(files, "pred.h5ad"), run(files, "bare.h5ad")
    assert one.table["value"].to_list() == pytest.approx(two.table["value"].to_list())
    with pytest.raises(SchemaError, match="control"):
        run(files, "bare.h5ad", compat="cell-eval")


@pytest.mark.parametrize("unnamed", ["real.h5ad", "bare.h5ad", "means.csv"])
def test_a_side_without_a_context_takes_the_only_one_of_the_other(
    files: Path, tmp_path: Path, unnamed: str
) -> None:
    wanted = run(files, "means.csv" if unnamed == "means.csv" else "bare.h5ad").table
    for name in ("real.h5ad", "bare.h5ad"):
        adata = ad.read_h5ad(files / name)
        if name != unnamed:
            adata.obs["cell_line"] = "A549"
        adata.write_h5ad(tmp_path / name)
    (tmp_path / "means.csv").write_bytes((files / "means.csv").read_bytes())
    found = run(tmp_path, "means.csv" if unnamed == "means.csv" else "bare.h5ad").table
    assert found["value"].to_list() == pytest.approx(wanted["value"].to_list())


def test_truth_may_be_a_screen_by_its_name(tmp_path: Path) -> None:
    truth = responses_of(open_screen("simulated"))
    truth.save(tmp_path / "perfect.parquet")
    options = ForeignOptions.parse({})
    rng = np.random.default_rng(0)
    table = score_foreign(tmp_path / "perfect.parquet", "simulated", options, rng=rng).table
    best = dict(table.select("metric", "value").iter_rows())
    assert best["pearson_delta"] == pytest.approx(1)
    assert best["rmse"] == pytest.approx(0, abs=1e-6)


def test_means_score_alike_from_every_format(files: Path) -> None:
    tables = [run(files, f"means.{kind}").table for kind in ("csv", "parquet", "h5ad")]
    for other in tables[1:]:
        assert tables[0]["value"].to_list() == pytest.approx(other["value"].to_list(), abs=1e-6)
    cells = run(files, "pred.h5ad").table
    values = dict(tables[0].select("metric", "value").rows())
    expected = dict(cells.select("metric", "value").rows())
    assert values["mae"] == pytest.approx(expected["mae"], abs=1e-6)
    assert values["pearson_delta"] == pytest.approx(expected["pearson_delta"], abs=1e-5)
    assert tables[0]["ceiling"].is_not_nan().all()
    with pytest.raises(UnitError, match="need cells on both sides"):
        run(files, "means.csv", compat="cell-eval")


def test_challenge_profile_ends_with_its_score(files: Path) -> None:
    """Three members scaled by the mean baseline of the same data: 0 for it, 100 for the truth."""
    table = run(files, "pred.prep.vcc", profile="vcc").table
    assert table["metric"].to_list()[-1] == "vcc_score"
    members = table.filter(pl.col("metric") != "vcc_score")
    gain = (members["value"] - members["baseline"]) / (members["best"] - members["baseline"])
    assert table["value"][-1] == pytest.approx(100 * gain.mean())
    truth = run(files, "real.h5ad", profile="vcc").table
    assert truth["value"][-1] == pytest.approx(100, abs=1e-4)


def test_what_is_no_prediction_says_so(files: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "words.csv").write_text("perturbation,g\ncontrol,high\n")
    (tmp_path / "other.csv").write_text("sample,g\n1,2\n")
    for name, match in (
        ("a.txt", "ending '.txt'"), ("empty.csv", "cannot be read"), ("words.csv", "holds text"),
        ("other.csv", "state --perturbation"), ("no.csv", "no predictions|does not exist|missing"),
    ):  # fmt: skip
        with pytest.raises((FileError, SchemaError), match=match):
            score_foreign(
                tmp_path / name, files / "real.h5ad", ForeignOptions(),
                rng=np.random.default_rng(0),
            )  # fmt: skip


def test_submission_keeps_cells_and_order(files: Path, small_adata) -> None:
    back = read_submission(files / "pred.prep.vcc")
    assert list(back.var_names) == list(small_adata[1].var_names)
    assert back.X.dtype == np.float32
    np.testing.assert_array_equal(back.X.toarray(), small_adata[1].X.toarray())
    assert (
        back.obs["target_gene"].astype(str) == small_adata[1].obs["target_gene"].to_numpy()
    ).all()
    with tarfile.open(files / "pred.prep.vcc") as archive:
        assert archive.getnames() == ["pred.h5ad.zst", "watermark.txt"]
        assert archive.extractfile("watermark.txt").read() == b"vcc-prep"


def test_genes_are_put_in_order_and_counts_are_normalized(small_adata, tmp_path: Path) -> None:
    shuffled = small_adata[1][:, np.random.default_rng(0).permutation(320)].copy()
    counts = shuffled.copy()
    counts.X = sparse.csr_matrix(np.rint(np.expm1(shuffled.X.toarray())))
    genes = list(small_adata[1].var_names)
    write_submission(counts, tmp_path / "a.prep.vcc", genes=genes, **SMALL)
    back = read_submission(tmp_path / "a.prep.vcc")
    assert list(back.var_names) == genes
    totals = np.expm1(back.X.toarray()).sum(1)
    np.testing.assert_allclose(totals, np.median(np.asarray(counts.X.sum(1))), rtol=1e-4)


def test_submission_refuses_what_the_official_tool_refuses(small_adata, tmp_path: Path) -> None:
    adata = small_adata[1]
    genes, path = list(adata.var_names), tmp_path / "x.prep.vcc"

    def refuse(match: str, data: ad.AnnData = adata, error=SchemaError, **changes) -> None:
        with pytest.raises(error, match=match):
            write_submission(data, path, **({"genes": genes} | SMALL | changes))
        assert not path.exists()

    refuse("no column 'target'", perturbation="target")
    refuse("no cell is labelled 'ctrl'", control="ctrl")
    refuse("320 genes and the challenge 18,080", n_genes=18_080)
    refuse("1 genes of the challenge are missing", genes=[*genes[:-1], "other"])
    refuse("at most 100 are allowed", max_cells=100)
    negative, raw = adata.copy(), adata.copy()
    negative.X = adata.X - sparse.csr_matrix(np.full(adata.shape, 0.1, np.float32))
    refuse("down to -0.1", negative, UnitError)
    raw.X = sparse.csr_matrix(adata.X * 7.3)
    refuse("mixed, or the log is missing", raw, UnitError)


def test_damaged_submissions_are_one_clear_error(files: Path, tmp_path: Path) -> None:
    whole = (files / "pred.prep.vcc").read_bytes()
    bad = tmp_path / "bad.vcc"
    for data in (b"", b"not a tar", whole[: len(whole) // 2], whole[:2000] + b"\0" * 3000):
        bad.write_bytes(data)
        with pytest.raises(FileError):
            read_submission(bad)
    with tarfile.open(bad, "w") as archive:
        archive.add(files / "means.csv", "pred.h5ad.zst")
    with pytest.raises(FileError, match=r"holds pred\.h5ad\.zst; a submission"):
        read_submission(bad)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_normalized_counts_sum_to_the_total(n: int, g: int, seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(2, (n, g)).astype(np.float32)
    logged = log_normalized(sparse.csr_matrix(counts), "x", 1e4).toarray()
    expected = np.where(counts.sum(1) > 0, 1e4, 0)
    np.testing.assert_allclose(np.expm1(logged.astype(float)).sum(1), expected, rtol=1e-4)
