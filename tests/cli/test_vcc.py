"""`perturbkit vcc` from the command line: prep, read and score."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from perturbkit.cli.main import run

GENES = [f"g{i:02d}" for i in range(60)]
SMALL = ("--n-genes", "60", "--max-cells", "400")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Counts of five targets and controls, predictions with the genes in another order."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["non-targeting", *GENES[:5]], [80, *[40] * 5])
    rate = rng.gamma(2.0, 2.0, 60)
    up = {g: np.exp(rng.normal(0, 0.8, 60)) for g in GENES[:5]} | {"non-targeting": np.ones(60)}
    mean = np.stack([rate * up[label] for label in labels])
    for name, order in (("real", np.arange(60)), ("pred", rng.permutation(60))):
        x_ng = sparse.csr_matrix(rng.poisson(mean).astype(np.float32)[:, order])
        obs = pd.DataFrame({"target_gene": labels}, index=[f"c{i}" for i in range(len(labels))])
        var = pd.DataFrame(index=[GENES[i] for i in order])
        ad.AnnData(x_ng, obs=obs, var=var).write_h5ad(tmp_path / f"{name}.h5ad")
    (tmp_path / "gene_names.csv").write_text("\n".join(GENES) + "\n")
    return tmp_path


def call(*arguments: object) -> int:
    return run(["vcc", *map(str, arguments)])


def prepared(files: Path) -> Path:
    assert call("prep", files / "pred.h5ad", "--genes", files / "gene_names.csv", *SMALL) == 0
    return files / "pred.prep.vcc"


def test_a_submission_is_written_read_back_and_scored(files: Path, capsys) -> None:
    packed = prepared(files)
    assert "280 cells x 60 genes" in capsys.readouterr().out
    assert call("read", packed, "-o", files / "back.h5ad") == 0
    said = capsys.readouterr().out
    assert "perturbations\t5" in said
    assert "control cells\t80" in said
    back = ad.read_h5ad(files / "back.h5ad")
    assert list(back.var_names) == GENES
    assert back.X.dtype == np.float32
    assert call("score", packed, "--truth", files / "real.h5ad", "-o", files / "t.csv") == 0
    table = pl.read_csv(files / "t.csv")
    assert {"mae", "overlap_at_N", "discrimination_score_l1", "vcc_score"} <= set(table["metric"])
    assert table.filter(metric="vcc_score")["value"].item() > 20  # the planted effects are found


def test_a_submission_of_our_total_is_scored_by_our_rules_and_another_is_refused(
    files: Path, capsys
) -> None:
    rules = ("--truth", files / "real.h5ad", "--compat", "perturbkit", "-o", files / "t.csv")
    assert call("score", prepared(files), *rules) == 2
    assert "different scales" in capsys.readouterr().err
    genes = ("--genes", files / "gene_names.csv", "--total", "10000")
    assert call("prep", files / "pred.h5ad", *genes, *SMALL) == 0
    assert call("score", files / "pred.prep.vcc", *rules) == 0
    assert pl.read_csv(files / "t.csv").filter(metric="vcc_score")["value"].item() > 20


@pytest.mark.parametrize("header", ["gene_name\n", ""])
def test_genes_come_from_a_list_with_or_without_a_header_or_an_h5ad(files: Path, header) -> None:
    (files / "gene_names.csv").write_text(header + "\n".join(f'"{g}",x' for g in GENES))
    packed = prepared(files)
    out = files / "two.vcc"
    assert call("prep", files / "pred.h5ad", "--genes", files / "real.h5ad", "-o", out, *SMALL) == 0
    for path in (packed, out):
        assert call("read", path, "-o", files / "back.h5ad") == 0
        assert list(ad.read_h5ad(files / "back.h5ad").var_names) == GENES


def test_mistakes_are_one_line(files: Path, capsys) -> None:
    pred, genes = files / "pred.h5ad", files / "gene_names.csv"
    (files / "short.csv").write_text("\n".join(GENES[:-1]))
    (files / "noise.csv").write_bytes(bytes([200, 201, 255]))
    (files / "cut.h5ad").write_bytes((files / "real.h5ad").read_bytes()[:3000])
    with h5py.File(files / "empty.h5ad", "w"):
        pass
    for arguments, match in (
        (("prep", pred, "--genes", genes), "60 genes and the challenge 18,080"),
        (("prep", pred, "--genes", files / "short.csv", *SMALL), "59 genes"),
        (("prep", pred, "--genes", files / "noise.csv", *SMALL), "not text"),
        (("prep", pred, "--genes", files / "cut.h5ad", *SMALL), "whole h5ad"),
        (("prep", pred, "--genes", files / "empty.h5ad", *SMALL), "whole h5ad"),
        (("prep", pred, "--genes", files / "no.csv", *SMALL), "no.csv"),
        (("prep", pred, "--genes", genes, *SMALL[:2], "--max-cells", 99), "at most 99"),
        (("prep", pred, "--genes", genes, *SMALL, "--perturbation", "gene"), "no column 'gene'"),
        (("prep", pred, "--genes", genes, *SMALL, "--control", "NTC"), "labelled 'NTC'"),
        (("prep", pred, "--genes", genes, *SMALL, "-o", files / "a.tar"), "named .vcc"),
        (("prep", pred), "--genes"),
        (("read", pred), "no whole submission"),
        (("read", files / "no.vcc"), "no.vcc"),
        (("read", pred, "-o", files / "a.csv"), ".h5ad"),
        (("score", files / "no.vcc", "--truth", files / "real.h5ad"), "no.vcc"),
        (("score", pred), "--truth"),
    ):
        assert call(*arguments) == 2, arguments
        said = capsys.readouterr().err
        assert match in said, (match, said)
        assert said.count("\n") == 1
    assert not list(files.glob("*.vcc"))
