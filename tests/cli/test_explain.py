"""`perturbkit explain` from the command line: a network, a drawing, the reverse question."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perturbkit.cli.main import run as cli
from perturbkit.data.profiles import responses_of
from perturbkit.data.simulate import SimulationConfig, simulate

SETTINGS = SimulationConfig(
    n_genes=40, n_contexts=1, n_perturbations=16, n_cells=40, n_control_cells=200, truth="screen"
)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "screen.h5ad"
    screen = simulate(SETTINGS, np.random.default_rng(0)).screen
    screen.adata.write_h5ad(path)
    return path


def test_a_network_is_written_and_drawn(file, tmp_path, capsys):
    out, picture = tmp_path / "grn.tsv", tmp_path / "grn.svg"
    arguments = ["explain", str(file), "--unit", "counts", "-o", str(out), "--fdr", "1"]
    assert cli([*arguments, "--draw", str(picture)]) == 0
    table = pl.read_csv(out, separator="\t")
    assert table.columns[:6] == ["source", "target", "weight", "sign", "probability", "fdr"]
    assert table.height > 10
    gene = table["source"][0]
    assert f">{gene}<" in picture.read_text() or gene in picture.read_text()
    assert table["source"][0] in capsys.readouterr().out
    assert cli([*arguments, "--draw", str(picture), "--around", "NOGENE"]) == 2
    assert "no gene named 'NOGENE'" in capsys.readouterr().err


def test_the_same_seed_writes_the_same_file(file, tmp_path):
    for name in ("one.tsv", "two.tsv"):
        assert cli(["explain", str(file), "--unit", "counts", "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "one.tsv").read_bytes() == (tmp_path / "two.tsv").read_bytes()


def test_the_perturbation_behind_a_response_is_found(file, tmp_path, capsys):
    responses = responses_of(simulate(SETTINGS, np.random.default_rng(0)).screen)
    effect = np.linalg.norm(responses.delta_cg(), axis=1)
    row = int(effect.argmax())
    true = responses.conditions["perturbation"][row]
    change = pl.DataFrame({"gene": list(responses.readouts), "change": responses.delta_cg()[row]})
    change.write_csv(tmp_path / "change.csv")
    arguments = ["--response", str(tmp_path / "change.csv"), "--unit", "counts",
                 "-o", str(tmp_path / "who.tsv")]  # fmt: skip
    assert cli(["explain", "regulators", str(file), *arguments]) == 0
    assert pl.read_csv(tmp_path / "who.tsv", separator="\t")["perturbation"][0] == true
    assert cli(["explain", "regulators", str(file)]) == 2
    assert "--response FILE" in capsys.readouterr().err


def test_a_run_is_explained_by_what_it_predicts(tmp_path):
    settings = [
        "screen.options.n_genes=40", "screen.options.n_perturbations=12",
        "screen.options.n_contexts=2", "screen.options.n_cells=10",
        "screen.options.n_control_cells=20", "train.n_epochs=2", "score.n_bootstrap=100",
    ]  # fmt: skip
    run = tmp_path / "run"
    sets = [part for s in settings for part in ("--set", s)]
    assert cli(["fit", "lpm", "--screen", "simulated", "-o", str(run), "-q", *sets]) == 0
    out = tmp_path / "grn.tsv"
    assert cli(["explain", str(run), "--method", "mean_shift", "-o", str(out)]) == 0
    assert pl.read_csv(out, separator="\t").height > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simulated", "--method", "magic"], "no network method named 'magic'"),
        (["nowhere.h5ad"], "nowhere.h5ad"),
        (["simulated", "-o", "grn.docx"], "graphml"),
    ],
)
def test_mistakes_are_one_clear_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli(["explain", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
