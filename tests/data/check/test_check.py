"""The doctor on broken files: each fault is found, none crashes, what can be is mended."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from perturbkit.core.errors import FileError, PerturbkitError, SchemaError, UnknownNameError
from perturbkit.data.check import CheckOptions, check, fix
from perturbkit.data.check.genes import gene_of_date
from perturbkit.data.screens import open_screen

GENES = ["STAT1", "JAK2", "IRF1", "MYC", "TP53", "GATA1", "KLF1", "SPI1", "CEBPA", "RUNX1",
         "HLA-A", "NKX2-1", "ACTB", "GAPDH", "CD4", "CD8A", "IL2", "FOXP3", "TBX21",
         "LEF1"]  # fmt: skip
N = 400


def healthy(seed: int = 0) -> ad.AnnData:
    """Counts of knock-downs that work, in two contexts and two batches, controls in each."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["control", "STAT1", "JAK2", "MYC"], N)
    rate = np.full((N, len(GENES)), 4.0)
    for label in ("STAT1", "JAK2", "MYC"):
        rate[labels == label, GENES.index(label)] = 0.4
    counts = rng.poisson(rate * 0.3 + 0.1).astype(np.float32)
    counts[:, 12] = 3
    obs = pd.DataFrame(
        {
            "perturbation": labels,
            "context": np.arange(N) // 2 % 2,
            "batch": np.arange(N) % 2,
            "kind": "crispri",
        },
        index=[f"cell{i}" for i in range(N)],
    ).astype(str)
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES))


def relabel(changes):
    def apply(a):
        a.obs["perturbation"] = a.obs["perturbation"].replace(changes)

    return apply


def rename(changes):
    def apply(a):
        a.var_names = [changes.get(g, g) for g in a.var_names]

    return apply


def values(fn):
    def apply(a):
        dense = fn(a.X.toarray().astype(float))
        a.X = sparse.csr_matrix(dense)

    return apply


def log(total):
    return lambda x: np.log1p(x / np.maximum(x.sum(1, keepdims=True), 1) * total)


def put(value, n=3):
    def fn(x):
        x[np.arange(n) + 7, 1] = value
        return x

    return values(fn)


def blank_rows(x):
    x[:4] = 0
    return x


def blank_columns(x):
    x[:, 16] = 0
    return x


def dense(a):
    a.X = a.X.toarray()
    keep = np.random.default_rng(0).random(a.shape) < 0.3
    keep[:, 12] = True
    a.X *= keep


def by_columns(a):
    a.X = sparse.csc_matrix(a.X)


def unsorted(a):
    indices, data = a.X.indices.copy(), a.X.data.copy()
    for low, high in zip(a.X.indptr[:-1], a.X.indptr[1:], strict=True):
        indices[low:high], data[low:high] = indices[low:high][::-1], data[low:high][::-1]
    a.X = sparse.csr_matrix((data, indices, a.X.indptr), a.shape)


def column(name, to):
    def apply(a):
        a.obs = a.obs.rename(columns={name: to})

    return apply


def set_obs(rows, name, value):
    def apply(a):
        a.obs.loc[a.obs_names[rows(a)], name] = value

    return apply


def is_control(a):
    return (a.obs["perturbation"] == "control").to_numpy()


def missing_labels(a):
    a.obs.loc[a.obs_names[:5], "perturbation"] = np.nan


def guides(a):
    number = np.random.default_rng(1).integers(1, 4, N).astype(str)
    labels = a.obs["perturbation"].astype(str)
    a.obs["perturbation"] = np.where(labels == "control", labels, labels + "g" + number)


def guide_sequences(a):
    tail = np.random.default_rng(1).choice(["ACGTACGTACGTACGTACGT", "TTGTACGTACGTACGTACGA"], N)
    labels = a.obs["perturbation"].astype(str)
    a.obs["perturbation"] = np.where(labels == "control", labels, labels + "_" + tail)


def confounded(a):
    a.obs["batch"] = np.where(is_control(a), "day1", "day2")


def half_confounded(a):
    a.obs["batch"] = np.where(a.obs["perturbation"] == "MYC", "day2", "day1")


def silent(a):
    x = a.X.toarray()
    x[:, GENES.index("MYC")] = 4
    a.X = sparse.csr_matrix(x)


def few(a):
    rows = np.flatnonzero(a.obs["perturbation"] == "MYC")[:3]
    keep = np.flatnonzero(a.obs["perturbation"] != "MYC")
    a._inplace_subset_obs(np.sort(np.r_[keep, rows]))


def ensembl(version="", share=1.0):
    def apply(a):
        n = int(share * a.n_vars)
        names = [f"ENSG{i:011d}{version}" for i in range(n)]
        a.var["gene_name"] = list(a.var_names)
        a.var_names = [*names, *a.var_names[n:]]

    return apply


def doubled_names(a):
    a.obs_names = ["same", "same", *a.obs_names[2:]]


def bad_layer(a):
    a.layers["counts"] = a.X * 0.5


def hidden_counts(a):
    a.layers["counts"] = a.X.copy()
    values(log(1e4))(a)


def mislabelled(a):
    values(log(1e4))(a)
    a.uns["perturbkit"] = {"unit": "counts", "level": "cells", "format": 1}


def tahoe(a):
    label = {"control": "[('DMSO_TF', 0.0, 'uM')]"}
    labels = [label.get(p, f"[('{p}', 5.0, 'uM')]") for p in a.obs["perturbation"]]
    a.obs = pd.DataFrame({"drugname_drugconc": labels, "cell_line": "A549",
                          "plate": list(a.obs["batch"])}, index=a.obs_names)  # fmt: skip


def gears(a):
    label = [p if p == "control" else f"{p}+ctrl" for p in a.obs["perturbation"]]
    label = ["ctrl" if p == "control" else p for p in label]
    a.obs = pd.DataFrame({"condition": label, "cell_type": "K562"}, index=a.obs_names)


def cell_load(a):
    label = a.obs["perturbation"].replace("control", "non-targeting")
    a.obs = pd.DataFrame({"target_gene": label, "cell_type": "H1",
                          "gem_group": a.obs["batch"]}, index=a.obs_names)  # fmt: skip


def scperturb(a):
    label = a.obs["perturbation"].replace({"MYC": "JAK2_STAT1"})
    a.obs = pd.DataFrame({"perturbation": label, "nperts": 1, "cell_line": "K562",
                          "dose_value": np.nan}, index=a.obs_names)  # fmt: skip


def cellxgene(a):
    label = a.obs["perturbation"].replace("control", "na")
    a.obs = pd.DataFrame({"genetic_perturbation_id": label,
                          "genetic_perturbation_strategy": "CRISPR interference screen",
                          "cell_type": "T cell"}, index=a.obs_names)  # fmt: skip


FAULTS = {
    "healthy": (lambda a: None, set(), True),
    "logs": (values(log(1e4)), {"unit_not_stated"}, True),
    "logs of a million": (values(log(1e6)), {"unit_unclear"}, False),
    "not logged": (values(lambda x: x / x.sum(1, keepdims=True) * 1e4), {"unit_unclear"}, False),
    "logs said to be counts": (mislabelled, {"wrong_unit"}, False),
    "z-scores": (values(lambda x: (x - x.mean(0)) / (x.std(0) + 1)), {"unit_unclear"}, False),
    "ranks": (values(lambda x: x / x.max() * 2 - 1), {"unit_not_stated"}, True),
    "binary": (values(lambda x: (x > 1) + 0.0), {"binary"}, True),
    "missing values": (put(np.nan), {"not_finite"}, True),
    "infinite values": (put(np.inf), {"not_finite"}, True),
    "negative counts": (put(-2.0), {"unit_unclear"}, False),
    "empty cells": (values(blank_rows), {"empty_cells"}, True),
    "empty genes": (values(blank_columns), {"empty_genes"}, True),
    "dense": (dense, {"dense"}, True),
    "by columns": (by_columns, {"by_columns"}, True),
    "unsorted": (unsorted, {"unsorted"}, True),
    "duplicate genes": (rename({"JAK2": "STAT1"}), {"duplicate_genes"}, True),
    "duplicate cells": (doubled_names, {"duplicate_cells"}, True),
    "versions": (ensembl(".7"), {"ensembl_versions", "ensembl_names"}, True),
    "ensembl": (ensembl(), {"ensembl_names", "no_target_measured"}, True),
    "half ensembl": (ensembl("", 0.5), {"mixed_names"}, True),
    "dates": (rename({"CD4": "6-Sep", "IL2": "Dec-01"}), {"excel_dates"}, True),
    "unclear dates": (rename({"CD4": "1-Mar"}), {"excel_dates"}, True),
    "old names": (rename({"CD4": "SEPT6", "IL2": "MARCH3"}), {"renamed_genes"}, True),
    "two species": (rename({g: g.capitalize() for g in GENES[10:]}), {"mixed_species"}, True),
    "two genomes": (rename({g: ("GRCh38_" if i % 2 else "mm10___") + g
                            for i, g in enumerate(GENES)}), {"mixed_species"}, True),
    "one genome": (rename({g: "GRCh38_" + g for g in GENES}), {"genome_prefix"}, True),
    "no control": (relabel({"control": "STAT3"}), {"no_control"}, False),
    "misspelt control": (relabel({"control": "contrl"}), {"no_control"}, False),
    "other control": (relabel({"control": "non-targeting"}), set(), True),
    "several controls": (
        lambda a: a.obs.__setitem__("perturbation", [
            p if p != "control" else ("NT" if i % 3 else "AAVS1")
            for i, p in enumerate(a.obs["perturbation"])]),
        {"several_controls", "cutting_control"}, True),
    "context without control": (set_obs(is_control, "context", "0"),
                                {"context_without_control"}, True),
    "batch without control": (set_obs(is_control, "batch", "0"), {"batch_without_control"}, True),
    "confounded": (confounded, {"confounded", "batch_without_control"}, True),
    "one confounded": (half_confounded, {"confounded"}, True),
    "few cells": (few, {"few_cells"}, True),
    "no knock-down": (silent, {"no_knockdown"}, True),
    "targets not measured": (relabel({"MYC": "ZZZ3"}), {"target_not_measured"}, True),
    "no label column": (column("perturbation", "what"), {"no_labels"}, False),
    "missing labels": (missing_labels, {"missing_labels"}, True),
    "guides": (guides, {"guide_labels"}, True),
    "guide sequences": (guide_sequences, {"guide_labels"}, True),
    "foreign combinations": (relabel({"MYC": "STAT1_JAK2"}), {"combo_notation"}, True),
    "combinations by |": (relabel({"MYC": "STAT1|JAK2"}), {"combo_notation"}, True),
    "combination with ctrl": (relabel({"MYC": "MYC_ctrl"}), {"combo_notation"}, True),
    "false counts layer": (bad_layer, {"counts_layer_is_not"}, True),
    "counts in a layer": (hidden_counts, {"counts_in_layer"}, True),
    "tahoe": (tahoe, {"convention"}, True),
    "gears": (gears, {"convention"}, True),
    "cell-load": (cell_load, {"convention"}, True),
    "cellxgene": (cellxgene, {"convention"}, True),
    "scperturb": (scperturb, {"convention", "combo_notation"}, True),
    "empty name": (relabel({"MYC": "STAT1++JAK2"}), {"unreadable_labels"}, False),
}  # fmt: skip


def broken(name, tmp_path):
    import warnings

    adata = healthy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that repeat on purpose
        FAULTS[name][0](adata)
        adata.write_h5ad(tmp_path / "broken.h5ad")
    return tmp_path / "broken.h5ad"


def test_there_are_at_least_forty_faults():
    assert len(FAULTS) >= 40


@pytest.mark.parametrize("name", list(FAULTS))
def test_every_fault_is_found_and_mended_where_it_can_be(name, tmp_path):
    path = broken(name, tmp_path)
    report = check(path)
    expected, mends = FAULTS[name][1], FAULTS[name][2]
    assert expected <= report.codes, report.text()
    if name == "healthy":
        assert report.codes == {"unit_not_stated"}
    assert all(f.says and f.do for f in report.findings)
    json.dumps(report.plain(), allow_nan=False)
    out = tmp_path / "mended.h5ad"
    if not mends:
        with pytest.raises(PerturbkitError) as caught:
            fix(path, out)
        assert "\n" not in str(caught.value)
        assert not out.exists()
        return
    before = path.read_bytes()
    again = fix(path, out)
    assert path.read_bytes() == before
    fixable = {f.code for f in report.findings if f.fixable} & expected
    if name != "unclear dates":
        assert not fixable & again.codes, again.text()
    assert not {"unit_not_stated", "no_target_measured"} & again.codes
    screen = open_screen(out)
    assert screen.describe()["n_control_rows"] > 50


def test_what_the_user_knows_mends_more(tmp_path):
    path = broken("no control", tmp_path)
    assert fix(path, tmp_path / "a.h5ad", CheckOptions(control="STAT3")).ok
    path = broken("no label column", tmp_path)
    assert fix(path, tmp_path / "b.h5ad", CheckOptions(perturbation="what")).ok
    path = broken("z-scores", tmp_path)
    fix(path, tmp_path / "c.h5ad", CheckOptions(unit="zscore"))
    assert open_screen(tmp_path / "c.h5ad").unit == "zscore"
    path = broken("ensembl", tmp_path)
    fix(path, tmp_path / "d.h5ad", CheckOptions(readouts="gene_name"))
    assert "STAT1" in open_screen(tmp_path / "d.h5ad").readouts
    with pytest.raises(FileError, match="exists already"):
        fix(path, tmp_path / "d.h5ad")
    with pytest.raises(UnknownNameError, match="gears"):
        check(path, CheckOptions(convention="gaers"))


def test_labels_from_a_table_are_joined(tmp_path):
    path = broken("no label column", tmp_path)
    named = healthy().obs["perturbation"]
    named.rename_axis("cell").to_frame().to_csv(tmp_path / "labels.csv")
    known = CheckOptions(labels=str(tmp_path / "labels.csv"))
    assert "no_labels" not in check(path, known).codes
    assert fix(path, tmp_path / "a.h5ad", known).ok


def test_the_mended_numbers_are_the_right_ones(tmp_path):
    path = broken("duplicate genes", tmp_path)
    fix(path, tmp_path / "a.h5ad")
    before, after = healthy(), open_screen(tmp_path / "a.h5ad").adata
    both = before[:, ["STAT1", "JAK2"]].X.toarray().sum(1)
    np.testing.assert_array_equal(after[:, "STAT1"].X.toarray().ravel(), both)
    path = broken("dates", tmp_path)
    fix(path, tmp_path / "b.h5ad")
    assert {"SEPTIN6", "DELEC1"} <= set(open_screen(tmp_path / "b.h5ad").readouts)
    path = broken("guides", tmp_path)
    fix(path, tmp_path / "c.h5ad")
    screen = open_screen(tmp_path / "c.h5ad")
    assert set(screen.targets) == {"STAT1", "JAK2", "MYC"}
    assert screen.adata.obs["guide"].str.match(r"^(control|\w+g\d)$").all()
    path = broken("foreign combinations", tmp_path)
    fix(path, tmp_path / "d.h5ad")
    assert "JAK2+STAT1" in open_screen(tmp_path / "d.h5ad").perturbations
    path = broken("missing values", tmp_path)
    fix(path, tmp_path / "e.h5ad")
    assert open_screen(tmp_path / "e.h5ad").adata.n_obs == N - 3


@pytest.mark.parametrize(
    ("name", "rule", "context", "perturbation"),
    [
        ("tahoe", "tahoe", "A549", "STAT1@5uM"),
        ("gears", "gears", "K562", "STAT1"),
        ("cell-load", "cell_load", "H1", "STAT1"),
        ("cellxgene", "cellxgene", "T cell", "STAT1"),
    ],
)
def test_foreign_conventions_open_when_they_are_stated(tmp_path, name, rule, context, perturbation):
    path = broken(name, tmp_path)
    with pytest.raises(SchemaError, match=f"state convention {rule}"):
        open_screen(path, unit="counts")
    screen = open_screen(path, unit="counts", convention=rule)
    assert list(screen.contexts) == [context]
    from perturbkit.core.screen import screen_keys

    assert f"{perturbation} | {context}" in screen_keys(screen)
    n = (healthy().obs["perturbation"] == "control").sum()
    assert screen.describe()["n_control_rows"] == n


def test_unreadable_files_are_one_finding(tmp_path):
    path = tmp_path / "x.h5ad"
    for content in (b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + b"\0" * 50):
        path.write_bytes(content)
        report = check(path)
        assert report.codes == {"unreadable"}, report.text()
        assert not report.ok
    with pytest.raises(FileError, match="no file at"):
        check(tmp_path / "absent.h5ad")


@settings(deadline=None, max_examples=40)
@given(
    labels=st.lists(st.text(max_size=12), min_size=2, max_size=12),
    genes=st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=8, unique=True),
    scale=st.sampled_from([0.0, 1.0, 0.5, -1.0, 1e30]),
)
def test_no_names_and_no_values_crash_the_doctor(labels, genes, scale):
    from perturbkit.data.check import diagnose
    from perturbkit.data.check.opened import Opened

    rng = np.random.default_rng(0)
    x_ng = rng.poisson(1.0, (len(labels), len(genes))) * scale
    obs = pd.DataFrame({"perturbation": labels}, index=[str(i) for i in range(len(labels))])
    adata = ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=genes))
    report = diagnose(Opened.of(adata, "cells"), "x", CheckOptions())[0]
    assert report.text()
    json.dumps(report.plain(), allow_nan=False)


def test_dates_become_genes_only_where_it_is_clear():
    assert gene_of_date("6-Sep") == "SEPTIN6"
    assert gene_of_date("Sep-06") == "SEPTIN6"
    assert gene_of_date("3-Mar") == "MARCHF3"
    assert gene_of_date("1-Mar") is None
    assert gene_of_date("SEPT6") is None


GOLDEN = (Path(__file__).parent / "real_files.txt").read_text(encoding="utf-8")


@pytest.mark.data
@pytest.mark.parametrize("golden", [g.strip() for g in GOLDEN.split("\n\n") if g.strip()],
                         ids=lambda g: g.splitlines()[0])  # fmt: skip
def test_what_is_said_of_the_real_files_is_true(golden, real_data):
    file, _, text = golden.partition("\n")
    assert check(real_data / file).text().split("\n", 1)[1] == text


@pytest.mark.data
def test_the_real_files_of_cells_can_be_mended(real_data, tmp_path):
    for i, file in enumerate(("papalexi2021/papalexi2021_eccite_299genes.h5ad",
                              "perturbench_devel/devel.h5ad")):  # fmt: skip
        assert fix(real_data / file, tmp_path / f"{i}.h5ad").ok


def test_the_command_says_it_and_its_exit_code_tells(tmp_path, capsys):
    import typer

    from perturbkit.cli.check import check as command

    path = broken("no control", tmp_path)
    with pytest.raises(typer.Exit) as stop:
        command(path, as_json=True)
    assert stop.value.exit_code == 1
    said = json.loads(capsys.readouterr().out)
    assert "no_control" in {f["code"] for f in said["findings"]}
    command(path, fix=tmp_path / "out.h5ad", set_=["control=STAT3"])
    assert "nothing to mend" in capsys.readouterr().out


def test_scperturb_joins_targets_by_an_underscore(tmp_path):
    path = broken("scperturb", tmp_path)
    screen = open_screen(path, unit="counts", convention="scperturb")
    assert {"JAK2+STAT1", "STAT1", "JAK2", "control"} == set(screen.perturbations)
    assert list(screen.contexts) == ["K562"]
