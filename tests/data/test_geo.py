"""GEO series: files generated in its layout are listed, unpacked, joined and read, offline."""

import gzip
import io
import tarfile

import numpy as np
import pandas as pd
import pytest
from scipy import io as scipy_io
from scipy import sparse

from perturbkit.core.errors import FileError, SchemaError
from perturbkit.data.geo import GenomicsDataLoader, read_file_list, series_address, unpack

ID = "GSE900001"
HEAD = "#Archive/File\tName\tTime\tSize\tType\n"


def test_addresses_follow_the_site():
    assert series_address("GSE153056").endswith("/series/GSE153nnn/GSE153056/suppl")
    assert series_address("GSE7").endswith("/GSEnnn/GSE7/suppl")
    for bad in ("GSM123", "153056", "GSE0", "GSE1/../2"):
        with pytest.raises(SchemaError, match="no GEO series"):
            series_address(bad)


def triplet(sample, counts, genes, barcodes):
    text = io.BytesIO()
    scipy_io.mmwrite(text, sparse.coo_matrix(counts.T))
    features = "".join(f"ENSG{i:011d}\t{g}\tGene Expression\n" for i, g in enumerate(genes))
    return {
        f"{sample}_matrix.mtx.gz": gzip.compress(text.getvalue()),
        f"{sample}_features.tsv.gz": gzip.compress(features.encode()),
        f"{sample}_barcodes.tsv.gz": gzip.compress("".join(f"{b}\n" for b in barcodes).encode()),
    }


def archive(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def series(tmp_path):
    """Two 10x samples of 30 cells in the archive of a series, and a table of guides."""
    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(12)]
    members, rows = {}, []
    for s in (1, 2):
        counts = rng.poisson(3.0, (30, 12))
        counts[10:20, 3] *= 6  # what the guide does
        barcodes = [f"C{s}{i:03d}-1" for i in range(30)]
        sample = f"GSM70000{s}_lane{s}"
        members |= triplet(sample, counts, genes, barcodes)
        labels = ["control"] * 10 + ["G3"] * 10 + ["G5"] * 10
        rows += [(f"{b}-{sample}", p) for b, p in zip(barcodes, labels, strict=True)]
    folder = tmp_path / ID
    folder.mkdir()
    name = f"{ID}_RAW.tar"
    archive(folder / name, members)
    size = (folder / name).stat().st_size
    lines = [f"Archive\t{name}\t01/01/2026\t{size}\tTAR\n"]
    lines += [f"File\t{n}\t01/01/2026\t{len(c)}\tTSV\n" for n, c in members.items()]
    (folder / "filelist.txt").write_text(HEAD + "".join(lines))
    guides = tmp_path / "guides.csv"
    pd.DataFrame(rows, columns=["cell", "perturbation"]).to_csv(guides, index=False)
    return folder, guides


def test_a_series_becomes_a_screen(series, monkeypatch):
    monkeypatch.setenv("PERTURBKIT_OFFLINE", "1")
    folder, guides = series
    loader = GenomicsDataLoader(dataset_id=ID, folder=folder).fetch_data()
    assert list(loader.samples()) == ["GSM700001_lane1", "GSM700002_lane2"]
    adata = loader.read()
    assert adata.shape == (60, 12)
    assert set(adata.obs["batch"]) == set(loader.samples())
    screen = loader.preprocess(guides, kind="crispra")
    assert (screen.level, screen.unit) == ("profiles", "log1p_cp10k")
    rows = screen.adata.obs["perturbation"].astype(str).to_numpy()
    x = np.asarray(screen.adata.X)
    change = x[rows == "G3"].mean(0) - x[rows == "control"].mean(0)
    assert int(np.argmax(change)) == 3
    assert change[3] > 1.0
    again = GenomicsDataLoader(ID, folder).preprocess(guides, profiles=False)
    assert (again.level, again.adata.n_obs) == ("cells", 60)


def test_mistakes_are_named(series, monkeypatch, tmp_path):
    monkeypatch.setenv("PERTURBKIT_OFFLINE", "1")
    folder, _ = series
    with pytest.raises(FileError, match=r"filelist\.txt is not here and downloads are switched"):
        GenomicsDataLoader(ID, tmp_path / "empty").fetch_data()
    with pytest.raises(FileError, match="call fetch_data"):
        GenomicsDataLoader(ID, tmp_path / "empty").preprocess()
    with pytest.raises(SchemaError, match=r"no file 'x\.csv'; it has GSE900001_RAW\.tar"):
        GenomicsDataLoader(ID, folder, files=("x.csv",)).fetch_data()
    with pytest.raises(SchemaError, match="give labels="):
        GenomicsDataLoader(ID, folder).fetch_data().preprocess()


@pytest.mark.parametrize("name", ["../out.txt", "a/b.txt", "/etc/x"])
def test_hostile_archives_write_nothing(name, tmp_path):
    archive(tmp_path / "bad.tar", {"good.txt": b"1", name: b"2"})
    with pytest.raises(FileError, match="nothing is unpacked"):
        unpack(tmp_path / "bad.tar", tmp_path / "here")
    assert not (tmp_path / "here").exists()
    (tmp_path / "cut.tar").write_bytes(b"not a tar")
    with pytest.raises(FileError, match="no whole tar"):
        unpack(tmp_path / "cut.tar", tmp_path / "here")


def test_hostile_lists_are_refused(tmp_path):
    path = tmp_path / "filelist.txt"
    path.write_text(HEAD + "File\t../../x\t\t12\tTXT\n")
    with pytest.raises(SchemaError, match="no plain file name"):
        read_file_list(path)
    path.write_text("<html>404</html>\n")
    with pytest.raises(SchemaError, match="line 1"):
        read_file_list(path)
