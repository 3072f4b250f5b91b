"""Each tool's labels read the same in memory, streamed and by the doctor."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from perturbkit.core.errors import SchemaError, UnknownNameError
from perturbkit.core.screen import screen_keys
from perturbkit.data.check import check
from perturbkit.data.prepare import PrepareConfig, prepare
from perturbkit.data.read.conventions import CONVENTIONS
from perturbkit.data.screens import open_screen

GENES = ["STAT1", "JAK2", "MYC", "TP53"]
N = 6
FILES = {
    "gears": (
        {"condition": ["ctrl", "STAT1+ctrl", "ctrl+JAK2", "STAT1+JAK2"], "cell_type": "K562"},
        {"control | K562", "STAT1 | K562", "JAK2 | K562", "JAK2+STAT1 | K562"},
    ),
    "scperturb": (
        {"perturbation": ["control", "STAT1", "JAK2", "STAT1_JAK2"], "nperts": [0, 1, 1, 2],
         "cell_line": "K562", "perturbation_type": "CRISPR-cas9"},
        {"control | K562", "STAT1 | K562", "JAK2 | K562", "JAK2+STAT1 | K562"},
    ),
    "scperturb with doses": (
        {"perturbation": ["control", "drug", "drug", "other"], "nperts": [0, 1, 1, 1],
         "celltype": "A549", "dose_value": ["", "500", "2", "7"],
         "dose_unit": ["", "nM", "uM", "ng/ml"], "perturbation_type": "drug"},
        {"control | A549", "drug@0.5uM | A549", "drug@2uM | A549", "other | A549"},
    ),
    "cell_load": (
        {"target_gene": ["non-targeting", "STAT1", "JAK2", "MYC"], "cell_type": "H1",
         "batch_var": "b1"},
        {"control | H1", "STAT1 | H1", "JAK2 | H1", "MYC | H1"},
    ),
    "replogle": (
        {"gene": ["non-targeting", "STAT1", "JAK2", "MYC"], "gem_group": [1, 2, 3, 1],
         "cell_type": "RPE1"},
        {"control | RPE1", "STAT1 | RPE1", "JAK2 | RPE1", "MYC | RPE1"},
    ),
    "cellxgene": (
        {"genetic_perturbation_id": ["na", "id1", "id2", "id1 || id2"],
         "genetic_perturbation_strategy": ["control"] + ["CRISPR interference screen"] * 3,
         "cell_type": "T cell", "donor_id": "d1"},
        {"control | T cell", "STAT1 | T cell", "JAK2 | T cell", "JAK2+STAT1 | T cell"},
    ),
    "xatlas": (
        {"perturbation": ["safe guide 7", "STAT1", "JAK2", "MYC"],
         "is_control": [True, False, False, False], "cell_line": "HCT116"},
        {"control | HCT116", "STAT1 | HCT116", "JAK2 | HCT116", "MYC | HCT116"},
    ),
    "tahoe": (
        {"drugname_drugconc": ["[('DMSO_TF', 0.0, 'uM')]", "[('Drug A', 5.0, 'uM')]",
                               "[('Drug A', 0.05, 'uM')]", "[('B', 1.0, 'uM'), ('C', 1.0, 'uM')]"],
         "cell_line_id": "CVCL_0023", "plate": "plate1"},
        {"control | CVCL_0023", "Drug A@5uM | CVCL_0023", "Drug A@0.05uM | CVCL_0023",
         "B+C@1uM | CVCL_0023"},
    ),
    "sciplex": (
        {"product_name": ["Vehicle", "Drug", "Drug", "Other"], "dose": [0, 10, 10_000, 100],
         "cell_type": "MCF7", "replicate": "rep1"},
        {"control | MCF7", "Drug@0.01uM | MCF7", "Drug@10uM | MCF7", "Other@0.1uM | MCF7"},
    ),
    "l1000": (
        {"pert_iname": ["EMPTY_VECTOR", "drug", "drug", "STAT1"],
         "pert_type": ["ctl_vector", "trt_cp", "trt_cp", "trt_oe"],
         "pert_dose": [-666, 10, 500, 1.5], "pert_dose_unit": ["-666", "um", "nM", "uL"],
         "pert_time": [96, 24, 24, 96], "cell_id": "A375"},
        {"control | A375", "drug@10uM@24h | A375", "drug@0.5uM@24h | A375", "STAT1@96h | A375"},
    ),
}  # fmt: skip
LISTED = {
    "id1": {"role": "targeting", "derived_features": {"ENSG1": "STAT1"}},
    "id2": {"role": "targeting", "derived_features": {"ENSG2": "JAK2"}},
    "nt": {"role": "control"},
}


def write(name: str, path) -> None:
    rng = np.random.default_rng(0)
    columns = {k: v if isinstance(v, list) else [v] * 4 for k, v in FILES[name][0].items()}
    obs = pd.DataFrame({k: v * N for k, v in columns.items()})
    obs.index = [f"c{i}" for i in range(len(obs))]
    x_ng = sparse.csr_matrix((1 + rng.poisson(3.0, (4 * N, 4))).astype(np.float32))
    adata = ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=GENES))
    if name == "cellxgene":
        adata.uns["genetic_perturbations"] = LISTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of categories made of text
        adata.write_h5ad(path)


@pytest.mark.parametrize("name", list(FILES))
def test_it_reads_the_same_in_memory_streamed_and_by_the_doctor(name, tmp_path):
    rule, expected = name.split()[0], FILES[name][1]
    path = tmp_path / "x.h5ad"
    write(name, path)
    memory = open_screen(path, unit="counts", convention=rule)
    assert set(screen_keys(memory)) == expected
    assert memory.describe()["n_control_rows"] == N
    config = PrepareConfig(unit="counts", convention=rule)
    streamed = prepare([path], tmp_path / "out", config)
    assert set(screen_keys(streamed)) == expected
    kinds = set(streamed.adata.obs["kind"]) - {"unknown"}
    assert kinds == set(memory.adata.obs["kind"]) - {"unknown"}
    assert streamed.adata.obs["n_cells"].tolist() == [N] * 4
    report = check(path)
    assert not report.codes & {"no_control", "no_labels", "unreadable_labels"}, report.text()
    said = next(c.says for c in CONVENTIONS if c.name == rule)
    assert f"as {said} writes" in str(report.facts["labels"])


def test_every_convention_has_a_file():
    assert {n.split()[0] for n in FILES} == {c.name for c in CONVENTIONS} - {"perturbkit"}


def test_a_convention_of_another_file_is_refused(tmp_path):
    write("gears", tmp_path / "x.h5ad")
    config = PrepareConfig(unit="counts", convention="tahoe")
    with pytest.raises(SchemaError, match="drugname_drugconc"):
        prepare([tmp_path / "x.h5ad"], tmp_path / "out", config)
    with pytest.raises(UnknownNameError, match="gears"):
        prepare([tmp_path / "x.h5ad"], tmp_path / "out", config.replace(convention="gaers"))
    with pytest.raises(UnknownNameError, match="control label"):
        config = config.replace(convention="gears", control="NT")
        prepare([tmp_path / "x.h5ad"], tmp_path / "out", config)


def test_a_pair_written_as_a_python_list_is_a_combination(tmp_path):
    table = pl.DataFrame({"pair": ["('STAT1', 'JAK2')", "('MYC', 'negative')"], "Score": [0.5, -1]})
    table.write_csv(tmp_path / "pairs.csv")
    from perturbkit.data.check import CheckOptions, fix

    known = CheckOptions(perturbation="pair", value="Score", unit="score")
    fix(tmp_path / "pairs.csv", tmp_path / "out.h5ad", known)
    assert set(open_screen(tmp_path / "out.h5ad").perturbations) == {"JAK2+STAT1", "MYC"}
