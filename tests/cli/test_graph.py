import pytest
from typer.testing import CliRunner

from perturbkit.cli.graph import app
from perturbkit.core.errors import ConfigError, FileError
from perturbkit.graphs.read import read_graph


@pytest.fixture
def files(tmp_path):
    (tmp_path / "humap.txt").write_text("entity1,entity2\nA,B\nB,C\nC,D\n")
    (tmp_path / "dorothea.csv").write_text("tf,confidence,target,mor\nA,A,B,1\nA,E,D,-1\n")
    (tmp_path / "genes.txt").write_text("A\nB\nZ\n")
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_info_says_size_degrees_and_coverage(files):
    text = run("info", "humap", "--from", files, "--genes", files / "genes.txt",
               "--picture", files / "p.svg")  # fmt: skip
    assert "edges\t3" in text
    assert "median_degree\t1.5" in text
    assert "CC BY 4.0" in text
    assert "2 of 3 genes have neighbours; not listed: Z" in text
    assert (files / "p.svg").read_text().startswith("<?xml")


def test_build_writes_edges_that_read_back(files):
    out = files / "out.tsv"
    run("build", "dorothea", "--from", files, "--set", 'levels=["A", "E"]', "--out", out)
    graph = read_graph("edge_list", out)
    rows = graph.table().select("source", "target", "sign").rows()
    assert rows == [("A", "B", 1), ("A", "D", -1)]
    run("build", "humap", "--from", files, "--genes", files / "genes.txt", "--out", out)
    assert read_graph("edge_list", out).n_edges == 1
    run("build", "humap", "--from", files, "--rewired", "--out", out)
    assert read_graph("edge_list", out).n_edges == 3
    assert "edges" in run("info", out)


def test_compare_counts_shared_edges(files):
    text = run("compare", "humap", "dorothea", "--from", files, "--picture", files / "c.png")
    row = next(line for line in text.splitlines() if line.startswith("humap\tdorothea"))
    assert row.split("\t")[2:6] == ["2", "1", "1", "1"]
    assert (files / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_mistakes_are_errors_in_words(files):
    with pytest.raises(ConfigError, match="at least two"):
        run("compare", "humap", "--from", files)
    with pytest.raises(FileError, match=r"suffix '\.doc'"):
        run("info", "humap", "--from", files, "--picture", files / "p.doc")
    with pytest.raises(ConfigError, match="confidenze"):
        run("info", "humap", "--from", files, "--set", "confidenze=1")
