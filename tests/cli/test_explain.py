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
    asked = ["explain", str(run), "--method", "mean_shift", "-o", str(out), "--impute"]
    assert cli(asked) == 0
    imputed = pl.read_csv(out, separator="\t")
    assert set(imputed["imputed"]) == {0, 1}
    assert imputed["source"].n_unique() > 12
    change = imputed.filter(pl.col("imputed") == 0).group_by("target").agg(pl.col("weight").sum())
    change.rename({"target": "gene"}).write_csv(tmp_path / "change.csv")
    asked = ["explain", "regulators", str(run), "--response", str(tmp_path / "change.csv")]
    assert cli([*asked, "-o", str(tmp_path / "who.tsv")]) == 0
    assert pl.read_csv(tmp_path / "who.tsv", separator="\t").height >= 12


def test_a_model_that_learns_a_network_is_fitted_and_asked(file, tmp_path, capsys):
    out = tmp_path / "grn.tsv"
    arguments = ["--unit", "counts", "--method", "gpo_vae", "-o", str(out), "--fdr", "1"]
    assert cli(["explain", str(file), *arguments]) == 0
    table = pl.read_csv(out, separator="\t")
    assert table.columns[:6] == ["source", "target", "weight", "sign", "probability", "fdr"]
    assert table["weight"].is_sorted(descending=True)
    graph = simulate(SETTINGS, np.random.default_rng(0)).graph
    names = list(graph.nodes)
    true = {(names[a], names[b]) for a, b in zip(graph.source, graph.target, strict=True)}
    found = list(zip(table["source"], table["target"], strict=True))
    share = np.mean([pair in true for pair in found[:10]])
    assert share > 3 * len(true) / (16 * 39)  # of all pairs that could be found
    assert cli(["explain", str(file), "--unit", "counts", "--method", "gpo", "-o", str(out)]) == 2
    assert "network method" in capsys.readouterr().err


def test_a_run_of_a_model_that_learned_a_network_gives_it(tmp_path):
    settings = [
        "screen.options.n_genes=40", "screen.options.n_perturbations=12",
        "screen.options.n_contexts=1", "screen.options.n_cells=20",
        "screen.options.n_control_cells=100", "train.n_epochs=1", "score.n_bootstrap=100",
    ]  # fmt: skip
    run = tmp_path / "run"
    sets = [part for s in settings for part in ("--set", s)]
    assert cli(["fit", "gpo_vae", "--screen", "simulated", "-o", str(run), "-q", *sets]) == 0
    out = tmp_path / "grn.tsv"
    assert cli(["explain", str(run), "-o", str(out), "--fdr", "1", "--edges", "50"]) == 0
    table = pl.read_csv(out, separator="\t")
    assert table.height == 50
    assert table["weight"].is_sorted(descending=True)
    assert cli(["explain", str(run), "-o", str(out), "--fdr", "0.2"]) == 0
    assert (pl.read_csv(out, separator="\t")["fdr"] <= 0.2).all()


def test_methods_and_files_are_scored_side_by_side(file, tmp_path, capsys):
    simulated = simulate(SETTINGS, np.random.default_rng(0))
    simulated.graph.save(tmp_path / "truth.tsv")
    out = tmp_path / "scores.tsv"
    truth, picture = str(tmp_path / "truth.tsv"), tmp_path / "curves.svg"
    arguments = ["--screen", str(file), "--unit", "counts", "--truth", truth, "--every-readout"]
    arguments += ["-o", str(out), "--draw", str(picture)]
    networks = ["knockout_z", "correlation", truth]
    assert cli(["explain", "score", *networks, "--folds", "2", *arguments]) == 0
    shown = capsys.readouterr()
    assert "# against interventions" in shown.out
    assert "# against interventions, held-out perturbations" in shown.out
    assert "knockout_z gives no edge from a gene whose perturbation it has not seen" in shown.err
    table = pl.read_csv(out, separator="\t")
    best = table.filter(pl.col("against") == "truth", pl.col("score") == "auroc")
    by_name = dict(best.select("network", "value").iter_rows())
    assert by_name["truth"] == 1.0
    assert by_name["knockout_z"] > by_name["correlation"]
    assert picture.is_file()


def test_sets_behind_a_network_are_tested_and_a_file_is_drawn(tmp_path, capsys):
    rows = [("a", f"t{i}", 9.0 - i) for i in range(8)] + [("b", f"u{i}", 1.0) for i in range(8)]
    table = pl.DataFrame(rows, schema=["source", "target", "weight"], orient="row")
    table.write_csv(tmp_path / "grn.tsv", separator="\t")
    sets = ["module\tx\t" + "\t".join(f"t{i}" for i in range(7)),
            "other\tx\t" + "\t".join(f"u{i}" for i in range(0, 8, 2)) + "\tt7"]  # fmt: skip
    (tmp_path / "sets.gmt").write_text("\n".join(sets) + "\n")
    genes = [*(f"t{i}" for i in range(8)), *(f"u{i}" for i in range(8)), "a", "b"]
    (tmp_path / "measured.txt").write_text("\n".join([*genes, *(f"v{i}" for i in range(80))]))
    out = tmp_path / "modules.tsv"
    arguments = [str(tmp_path / "grn.tsv"), "--sets", str(tmp_path / "sets.gmt"), "-o", str(out)]
    assert cli(["explain", "modules", *arguments]) == 0
    narrow = pl.read_csv(out, separator="\t").row(0, named=True)
    assert (
        cli(["explain", "modules", *arguments, "--measured", str(tmp_path / "measured.txt")]) == 0
    )
    wide = pl.read_csv(out, separator="\t").row(0, named=True)
    assert (wide["source"], wide["set"], wide["n_shared"]) == ("a", "module", 7)
    assert wide["p_value"] < narrow["p_value"]
    assert cli(["explain", "modules", *arguments, "--by", "module"]) == 0
    assert pl.read_csv(out, separator="\t")["source"][0] in {"M1", "M2"}
    assert cli(["explain", "modules", *arguments, "--by", "gene"]) == 2
    assert "regulator or module" in capsys.readouterr().err
    picture = tmp_path / "a.svg"
    assert cli(["explain", "draw", str(tmp_path / "grn.tsv"), "-o", str(picture),
                "--around", "a"]) == 0  # fmt: skip
    assert "8 of 16 edges drawn" in capsys.readouterr().err
    assert picture.is_file()


def test_a_database_supports_only_what_the_screen_agrees_with(file, tmp_path, capsys):
    simulated = simulate(SETTINGS, np.random.default_rng(0))
    simulated.graph.save(tmp_path / "truth.tsv")
    out = tmp_path / "grn.tsv"
    arguments = ["explain", str(file), "--unit", "counts", "-o", str(out)]
    assert cli([*arguments, "--prior", str(tmp_path / "truth.tsv")]) == 0
    assert "# what databases add" in capsys.readouterr().out
    assert pl.read_csv(out, separator="\t")["fdr"].max() <= 0.05
    assert cli([*arguments, "--prior", "string"]) == 2
    assert "give it with --graphs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "direct"], "nothing to score against"),
        (["score", "direct", "--truth", "t.tsv"], "must be inferred first"),
        (["score", "knockoutz", "--screen", "simulated"], "did you mean 'knockout_z'"),
        (["score", "grn.tsv", "--truth", "t.tsv"], "grn.tsv"),
        (["simulated", "--impute"], "give a run's folder"),
        (["draw", "grn.doc", "-o", "x.svg"], "grn.doc"),
        (["simulated", "--draw", "x.docx"], "end a picture's name in .svg"),
        (["score", "direct", "--screen", "simulated", "--draw", "x"], "no suffix"),
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
