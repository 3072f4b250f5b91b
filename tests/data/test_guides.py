"""Guides are called where they were planted, and cells get the labels of their targets."""

import h5py
import numpy as np
import pytest
from scipy import sparse

from perturbkit.cli.guides import guides as command
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.data.guides import GuideConfig, background_limit, call_guides
from perturbkit.data.screens import open_screen

GUIDES = ["STAT1_1", "STAT1_2", "JAK2_1", "JAK2_2", "MYC_1", "MYC_2", "non-targeting_1",
          "non-targeting_2"]  # fmt: skip


def planted(rng, n=800) -> tuple[np.ndarray, np.ndarray]:
    """Counts with an ambient background, and which guides are there: none, one or two."""
    there = np.zeros((n, len(GUIDES)), bool)
    there[np.arange(n), rng.integers(0, len(GUIDES), n)] = True
    there[: n // 10] = False
    double = np.arange(n - n // 10, n)
    there[double, rng.integers(0, len(GUIDES), double.size)] = True
    depth = rng.lognormal(np.log(60), 0.5, (n, 1))
    counts = rng.poisson(0.4, there.shape) + there * rng.poisson(depth, there.shape)
    return counts, there


@pytest.mark.parametrize("ambient", [0.05, 0.4, 2.0])
def test_the_mixture_finds_what_was_planted(rng, ambient):
    counts, there = planted(rng)
    counts = counts + rng.poisson(ambient, counts.shape)
    called = call_guides(sparse.csr_matrix(counts), GuideConfig()).toarray()
    assert (called == there).mean() > 0.99
    assert (called & there).sum() > 0.95 * there.sum()


def test_dominance_takes_the_cells_with_one_guide(rng):
    counts, there = planted(rng)
    called = call_guides(sparse.csr_matrix(counts), GuideConfig(method="share")).toarray()
    single = there.sum(1) == 1
    assert (called[single] == there[single]).mean() > 0.97
    assert called.sum(1).max() == 1
    assert called[there.sum(1) == 0].sum() < 5


def test_few_or_equal_counts_leave_the_least_count_to_the_user():
    assert background_limit(np.array([4.0, 4, 4])) == 4
    assert background_limit(np.array([])) == np.inf
    assert np.isfinite(background_limit(np.r_[np.ones(50), np.full(50, 2.0), np.full(5, 3.0)]))


def write(path, counts, rng, *, target: bool) -> None:
    n = len(counts)
    genes = rng.poisson(2.0, (n, 5))
    matrix = sparse.csc_matrix(np.hstack([genes, counts]).T)
    names = ["STAT1", "JAK2", "MYC", "ACTB", "GAPDH", *GUIDES]
    kinds = ["Gene Expression"] * 5 + ["CRISPR Guide Capture"] * len(GUIDES)
    with h5py.File(path, "w") as file:
        m = file.create_group("matrix")
        m["data"], m["indices"], m["indptr"] = matrix.data, matrix.indices, matrix.indptr
        m["shape"] = matrix.shape
        m["barcodes"] = np.array([f"BC{i}-1" for i in range(n)], "S")
        m["features/id"] = np.array([f"id{i}" for i in range(len(names))], "S")
        m["features/name"], m["features/feature_type"] = np.array(names, "S"), np.array(kinds, "S")
        if target:
            targets = [""] * 5 + [g.split("_")[0].replace("non-targeting", "Non-Targeting")
                                  for g in GUIDES]  # fmt: skip
            m["features/target_gene_name"] = np.array(targets, "S")


@pytest.mark.parametrize("target", [True, False])
def test_the_command_labels_cells(rng, tmp_path, target, capsys):
    counts, there = planted(rng)
    write(tmp_path / "x.h5", counts, rng, target=target)
    command(tmp_path / "x.h5", tmp_path / "cells.h5ad", set_=["max_targets=2"])
    assert "without a guide" in capsys.readouterr().out
    screen = open_screen(tmp_path / "cells.h5ad")
    assert {"STAT1", "JAK2", "MYC", "control", "JAK2+STAT1"} <= set(screen.perturbations)
    obs = screen.adata.obs
    truth = {f"BC{i}-1": row for i, row in enumerate(there)}
    right = 0
    for barcode, guide in obs["guide"].astype(str).items():
        right += set(guide.split("|")) == {g for g, t in zip(GUIDES, truth[barcode], strict=True)
                                           if t}  # fmt: skip
    assert right > 0.95 * len(obs)
    assert obs["guide_top_frac"].between(0, 1).all()
    assert list(screen.readouts) == ["STAT1", "JAK2", "MYC", "ACTB", "GAPDH"]
    command(tmp_path / "x.h5", tmp_path / "single.h5ad")
    assert not any("+" in p for p in open_screen(tmp_path / "single.h5ad").perturbations)


def test_what_cannot_be_labelled_is_refused(rng, tmp_path):
    counts, _ = planted(rng, 100)
    write(tmp_path / "x.h5", counts, rng, target=False)
    (tmp_path / "t.csv").write_text("guide,target\nSTAT1_1,STAT1\n")
    with pytest.raises(SchemaError, match="7 guides have no target"):
        command(tmp_path / "x.h5", tmp_path / "out.h5ad", targets=tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("sgrna,gene\nSTAT1_1,STAT1\n")
    with pytest.raises(SchemaError, match="needs guide and target"):
        command(tmp_path / "x.h5", tmp_path / "out.h5ad", targets=tmp_path / "t.csv")
    with pytest.raises(SchemaError, match="none of 100 cells"):
        command(tmp_path / "x.h5", tmp_path / "out.h5ad", set_=["min_umis=100000"])
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["matrix/features/feature_type"]
        file["matrix/features/feature_type"] = np.array(["Gene Expression"] * 13, "S")
    with pytest.raises(FileError, match="feature reference"):
        command(tmp_path / "x.h5", tmp_path / "out.h5ad")
    assert not (tmp_path / "out.h5ad").exists()
