"""Cards of published screens, on small files written as their publishers write them."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from perturbkit.core import fetch
from perturbkit.core.errors import ConfigError, FileError, SchemaError, UnitError
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import SCREENS, open_screen

GENES = ["AAA", "BBB", "CCC", "DDD", "EEE"]
ABOUT = {
    "norman2019": {"perturbation": ["control", "AAA", "AAA_BBB"], "nperts": [0, 1, 2],
                   "perturbation_type": ["CRISPR"] * 3},
    "adamson2016": {"perturbation": ["control", "AAA", "BBB"], "nperts": [0, 1, 1]},
    "replogle2022_k562": {"gene": ["non-targeting", "AAA", "BBB"], "gem_group": [1, 2, 3]},
    "replogle2022_rpe1": {"gene": ["non-targeting", "AAA", "BBB"], "gem_group": [1, 2, 3]},
    "mcfaline2023": {"condition": ["control", "AAA", "BBB"], "cell_type": ["a172"] * 3,
                     "treatment": ["none", "none", "drug"]},
    "sciplex3": {"perturbation": ["control", "Drug (x)", "Drug (x)"], "nperts": [0, 1, 1],
                 "dose_value": [0.0, 10.0, 10000.0], "dose_unit": ["nM"] * 3,
                 "cell_line": ["A549", "A549", "MCF7"]},
    "vcc2025": {"target_gene": ["non-targeting", "AAA", "BBB"], "guide_id": ["x", "y", "z"],
                "batch": ["1", "2", "3"]},
}  # fmt: skip
EXPECTED = {
    "norman2019": {"control | K562", "AAA | K562", "AAA+BBB | K562"},
    "adamson2016": {"control | K562", "AAA | K562", "BBB | K562"},
    "replogle2022_k562": {"control | K562", "AAA | K562", "BBB | K562"},
    "replogle2022_rpe1": {"control | RPE1", "AAA | RPE1", "BBB | RPE1"},
    "mcfaline2023": {"control | a172 none", "AAA | a172 none", "BBB | a172 drug"},
    "sciplex3": {"control | A549", "Drug (x)@0.01uM | A549", "Drug (x)@10uM | MCF7"},
    "vcc2025": {"control | H1", "AAA | H1", "BBB | H1"},
}


def write(name: str, folder: Path, **changes: list | None) -> Path:
    """Write ten cells of each of three conditions under the card's file name."""
    rng = np.random.default_rng(0)
    columns = {k: v for k, v in (ABOUT[name] | changes).items() if v is not None}
    obs = pd.DataFrame({k: v * 10 for k, v in columns.items()})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    x_ng = sparse.csr_matrix(rng.poisson(2.0, (30, 5)).astype(np.float32))
    var = pd.DataFrame(index=GENES)
    adata = ad.AnnData(x_ng, obs=obs, var=var)
    if name.startswith("replogle"):
        adata.var = pd.DataFrame(
            {"gene_name": ["AAA", "BBB", "CCC", "DDD", "DDD"]}, [f"ENSG{i}" for i in range(5)]
        )
    if name == "mcfaline2023":
        adata.layers["counts"] = x_ng
        adata.X = x_ng.log1p()
    path = folder / SCREENS[name].file
    path.parent.mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(path)
    return path


def lincs(folder: Path) -> Path:
    """Write four signatures, one of them bad, of three genes, one of them inferred."""
    path = folder / SCREENS["lincs_l1000"].file
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["0/DATA/0/matrix"] = np.arange(12, dtype=np.float32).reshape(4, 3)
        file["0/META/COL/id"] = [b"s1", b"s2", b"s3", b"s4"]
        file["0/META/ROW/id"] = [b"10", b"20", b"30"]
    (path.parent / "siginfo_beta.txt").write_text(
        "sig_id\tcmap_name\tcell_iname\tpert_dose\tpert_dose_unit\tpert_time\tis_hiq\n"
        "s3\tdrug b\tMCF7\t100\tnM\t6\t1\n"
        "s1\tdrug a\tA549\t10\tuM\t24\t1\n"
        "s4\tdrug a\tA549\t10\tuM\t24\t1\n"
        "s2\tdrug a\tMCF7\t10\tuM\t24\t0\n"
    )
    (path.parent / "geneinfo_beta.txt").write_text(
        "gene_id\tgene_symbol\tfeature_space\n30\tCCC\tlandmark\n10\tAAA\tlandmark\n"
        "20\tBBB\tinferred\n"
    )
    return path


def checked(name: str, screen: Screen) -> None:
    assert screen.unit == SCREENS[name].unit
    responses = responses_of(screen)
    assert set(responses.keys) == EXPECTED[name]
    kinds = set(
        responses.conditions.filter(responses.conditions["perturbation"] != "control")["kind"]
    )
    assert kinds <= {"crispra", "crispri", "drug"}
    assert len(kinds) == 1


@pytest.mark.parametrize("name", list(ABOUT))
def test_it_is_read_from_a_path_and_from_the_data_folder(name, tmp_path, monkeypatch):
    path = write(name, tmp_path)
    checked(name, open_screen(path))
    monkeypatch.setenv("PERTURBKIT_DATA", str(tmp_path))
    checked(name, open_screen(name))
    with pytest.raises(UnitError, match="drop the unit option"):
        open_screen(name, unit="signed_rank")
    with pytest.raises(ConfigError, match="no_such_option"):
        open_screen(name, no_such_option=1)


@pytest.mark.parametrize("name", list(ABOUT))
def test_another_file_under_its_name_is_refused_in_words(name, tmp_path):
    first = "cell_type" if name == "mcfaline2023" else next(iter(ABOUT[name]))
    path = write(name, tmp_path, **{first: None})
    with pytest.raises(SchemaError, match=f"no column '{first}'"):
        open_screen(path)


@pytest.mark.parametrize("name", [n for n in SCREENS if SCREENS[n].file and not SCREENS[n].sha256])
def test_without_a_checksum_nothing_is_downloaded(name, tmp_path, monkeypatch):
    for variable in ("PERTURBKIT_DATA", fetch.CACHE):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(FileError, match="SHA-256 is not known") as caught:
        open_screen(name)
    card = SCREENS[name]
    assert (card.download or card.url) in str(caught.value)
    assert "give the file's path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_in_the_cache_is_found_and_one_with_a_checksum_is_fetched(tmp_path, monkeypatch):
    from dataclasses import replace

    from perturbkit.core.files import sha256
    from perturbkit.data.screens import find

    monkeypatch.setenv("PERTURBKIT_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv(fetch.CACHE, str(tmp_path / "cache"))
    path = write("norman2019", tmp_path / "cache")
    checked("norman2019", open_screen("norman2019"))
    card = replace(SCREENS["norman2019"], sha256=sha256(path), file="elsewhere/" + path.name)
    asked = []

    def retrieve(url, download, folder):
        asked.append((url, download.sha256))
        folder.mkdir(parents=True)
        return path.rename(folder / download.name)

    monkeypatch.setattr(fetch, "_retrieve", retrieve)
    found = find.located(card)
    assert asked == [(card.download, card.sha256)]
    assert found == tmp_path / "cache" / card.file


def test_genes_go_by_symbol_and_repeats_keep_their_id(tmp_path):
    screen = open_screen(write("replogle2022_k562", tmp_path))
    assert list(screen.readouts) == ["AAA", "BBB", "CCC", "ENSG3", "ENSG4"]


def test_counts_are_taken_from_their_layer(tmp_path):
    path = write("mcfaline2023", tmp_path)
    x_ng = open_screen(path).adata.X
    np.testing.assert_array_equal(x_ng.data, np.rint(x_ng.data))
    adata = ad.read_h5ad(path)
    del adata.layers["counts"]
    adata.write_h5ad(path)
    with pytest.raises(SchemaError, match="no layer 'counts'"):
        open_screen(path)


def test_doses_in_another_unit_are_refused(tmp_path):
    with pytest.raises(SchemaError, match=r"'mg/ml'"):
        open_screen(write("sciplex3", tmp_path, dose_unit=["nM", "mg/ml", "nM"]))


def test_good_signatures_and_landmark_genes_are_read_from_lincs(tmp_path, monkeypatch):
    monkeypatch.setenv("PERTURBKIT_DATA", str(tmp_path))
    path = lincs(tmp_path)
    screen = open_screen("lincs_l1000")
    assert list(screen.readouts) == ["CCC", "AAA"]
    responses = responses_of(screen)
    values = dict(zip(responses.keys, responses.mean_cg.tolist(), strict=True))
    # s1 and s4 are replicates and averaged; s2 is bad
    assert values == {"drug b@0.1uM@6h | MCF7": [8.0, 6.0], "drug a@10uM@24h | A549": [6.5, 4.5]}
    few = open_screen(path, contexts=["MCF7"], dose_um=0.1, time_h=6.0)
    assert list(few.contexts) == ["MCF7"]
    with pytest.raises(SchemaError, match="no good signature"):
        open_screen(path, contexts=["HeLa"])
    with pytest.raises(ConfigError, match="did you mean 'contexts'"):
        open_screen(path, context=["MCF7"])
    (path.parent / "geneinfo_beta.txt").write_text("gene_id\n1\n")
    with pytest.raises(SchemaError, match="lacks gene_symbol"):
        open_screen(path)
    (path.parent / "siginfo_beta.txt").unlink()
    (path.parent / "geneinfo_beta.txt").unlink()
    with pytest.raises(FileError, match="beside the GCTX"):
        open_screen(path)
