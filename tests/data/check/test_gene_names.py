"""Names resolve to approved symbols where that is certain, and say so where it is not."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from perturbkit.core.errors import FileError
from perturbkit.data.check import CheckOptions, check
from perturbkit.data.check.gene_names import GeneNames

HGNC = """hgnc_id\tsymbol\tname\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id
HGNC:1\tSEPTIN6\tseptin 6\t"KIAA0128|SEP2"\tSEPT6\t23157\tENSG00000125354
HGNC:2\tSEPTIN2\tseptin 2\t\t"SEPT2|NEDD5"\t4735\tENSG00000168385
HGNC:3\tMTARC1\tmitochondrial\t\tMARC1|MOSC1\t64757\tENSG00000186205
HGNC:4\tMARCHF1\tring finger\tMARC1\tMARCH1\t55016\tENSG00000145416
HGNC:5\tSEP2\ta gene whose symbol is an alias\t\t\t5\tENSG00000000005
HGNC:6\tNOID\twithout ids\t\t\t\t
"""


@pytest.fixture
def known(tmp_path) -> GeneNames:
    (tmp_path / "hgnc.txt").write_text(HGNC)
    return GeneNames.read_hgnc(tmp_path / "hgnc.txt")


def test_names_resolve(known):
    asked = ["SEPTIN6", "SEPT6", "KIAA0128", "SEP2", "MARC1", "MARCH1", "ENSG00000145416", "4735",
             "XYZ", ""]  # fmt: skip
    found = known.resolve(asked)
    assert found["symbol"].to_list() == ["SEPTIN6", "SEPTIN6", "SEPTIN6", "SEP2", None, "MARCHF1",
                                         "MARCHF1", "SEPTIN2", None, None]  # fmt: skip
    how = "approved previous alias approved ambiguous previous ensembl entrez unknown unknown"
    assert found["how"].to_list() == how.split()
    assert found["candidates"][4] == "MARCHF1|MTARC1"


def test_the_table_survives_its_file_and_says_its_source(known, tmp_path):
    known.save(tmp_path / "names.parquet")
    again = GeneNames.load(tmp_path / "names.parquet")
    assert again.table.equals(known.table)
    assert again.source.startswith("hgnc.txt sha256 ")
    content = (tmp_path / "names.parquet").read_bytes()
    (tmp_path / "names.parquet").write_bytes(content[:50])
    with pytest.raises(FileError, match="perturbkit names"):
        GeneNames.load(tmp_path / "names.parquet")
    (tmp_path / "other.txt").write_text("a\tb\n1\t2\n")
    with pytest.raises(FileError, match="lacks the column"):
        GeneNames.read_hgnc(tmp_path / "other.txt")


def test_the_doctor_finds_aliases_with_it(known, tmp_path):
    known.save(tmp_path / "names.parquet")
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"perturbation": ["control", "SEPTIN6"] * 50}).rename(index=str)
    genes = ["SEPTIN6", "KIAA0128", "NEDD5", "MARC1"]
    x_ng = sparse.csr_matrix(rng.poisson(3.0, (100, 4)).astype(np.float32))
    ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(tmp_path / "a.h5ad")
    report = check(tmp_path / "a.h5ad", CheckOptions(names=str(tmp_path / "names.parquet")))
    said = {f.code: f.says for f in report.findings}
    assert "SEPTIN6 and KIAA0128 are SEPTIN6" in said["aliased_genes"]
    assert "NEDD5 -> SEPTIN2" in said["old_symbols"]
    assert "MARC1 (MARCHF1|MTARC1)" in said["ambiguous_genes"]


def test_the_command_builds_the_table(tmp_path, capsys):
    from perturbkit.cli.names import names

    (tmp_path / "hgnc.txt").write_text(HGNC)
    names(tmp_path / "hgnc.txt", tmp_path / "names.parquet")
    assert "6 genes" in capsys.readouterr().out
    assert GeneNames.load(tmp_path / "names.parquet").table.height == 6
