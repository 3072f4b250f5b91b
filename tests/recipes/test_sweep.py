"""Sweeps: every point once, folders named by settings, the best by validation and never by test."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from perturbkit.cli.main import run
from perturbkit.core.errors import ConfigError, MissingExtraError, UnknownNameError
from perturbkit.recipes import verbs
from perturbkit.recipes.sweep import grid_of, read_study, tasks_of
from perturbkit.recipes.sweep_results import bar_and_strip, best_by_validation, results_table
from perturbkit.recipes.sweep_run import run_sweep

OWN = """
from perturbkit.models.context_mean import ContextMean, ContextMeanConfig
from perturbkit.models.card import ModelCard

card = ModelCard(name="mine", summary="my mean", source="me", config=ContextMeanConfig,
                 model=ContextMean)
"""
BASE = """
metric = "rmse"
seeds = [0, 1]
[base.screen]
source = "simulated"
options = {preset = "tiny"}
[base.score]
baselines = ["context_mean"]
n_bootstrap = 100
"""
GRID = (
    BASE
    + """
[[models]]
kind = "mine.py"
[[models]]
kind = "cross_context_ridge"
directions = [2, 5]
"""
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "study.toml").write_text(GRID)
    return tmp_path / "study.toml"


def test_lists_are_axes_and_seeds_share_a_folder(study: Path) -> None:
    plan = read_study(study)
    points = [list(grid_of(m)) for m in plan.models]
    assert [len(p) for p in points] == [1, 2]
    assert [p["directions"] for p in points[1]] == [2, 5]
    tasks = tasks_of(plan, 0, points[1][0])
    assert [t.name.rsplit("/", 1)[1] for t in tasks] == ["seed_0", "seed_1"]
    assert len({t.digest for t in tasks}) == 1
    assert tasks[0].digest != tasks_of(plan, 0, points[1][1])[0].digest


def test_a_grid_runs_once_in_processes_and_goes_on_where_it_stopped(
    study, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    assert run(["sweep", str(study), "-o", str(out), "--jobs", "2"]) == 0
    table = pl.read_csv(out / "results.csv")
    assert table.height == 6
    assert table["validation"].null_count() == 0
    best = pl.read_csv(out / "best.csv")
    assert sorted(best["model"]) == ["cross_context_ridge", "mine"]
    assert (best["n_seeds"] == 2).all()
    assert "<svg" in (out / "results.svg").read_text()
    one = next(out.glob("cross_context_ridge_*/seed_0"))
    weights = (one / "model.safetensors").stat().st_mtime_ns
    (next(out.glob("mine_*/seed_1")) / "sweep.json").unlink()
    assert run(["sweep", str(study), "-o", str(out)]) == 0
    assert (one / "model.safetensors").stat().st_mtime_ns == weights
    mine = verbs.predict(next(out.glob("mine_*/seed_1")), ["G0001"])
    assert mine.conditions["status"].to_list() != []
    capsys.readouterr()


def test_the_best_is_chosen_on_validation_alone() -> None:
    rows = [
        {"data": 0, "screen": "op3", "model": "m", "settings": f"width={d}", "digest": d, "seed": s,
         "validation": v, "rmse": t}
        for d, v, t in (("aa", 1.0, 9.0), ("bb", 2.0, 0.1)) for s in (0, 1)
    ]  # fmt: skip
    table = results_table([*rows, {**rows[0], "seed": 2, "validation": None, "error": "full"}])
    best = best_by_validation(table, "rmse")
    assert best["digest"].to_list() == ["aa"]
    assert best["test_rmse"].to_list() == [9.0]
    assert best["n_seeds"].to_list() == [2]
    assert bar_and_strip(table, "rmse").startswith("<svg")


def test_optuna_searches_and_a_second_call_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    text = BASE.replace("seeds = [0, 1]", 'seeds = [0]\nsearch = "optuna"\nn_trials = 2')
    text += """
[[models]]
kind = "cross_context_ridge"
directions = { low = 1, high = 9 }
"""
    path = tmp_path / "s.toml"
    path.write_text(text)
    first = run_sweep(read_study(path), tmp_path / "out")
    assert len(first) == 2
    assert {row["settings"].split("=")[0] for row in first} == {"directions"}
    weights = {p: p.stat().st_mtime_ns for p in tmp_path.glob("out/*/*/model.safetensors")}
    again = run_sweep(read_study(path), tmp_path / "out")
    assert sorted(r["digest"] for r in again) == sorted(r["digest"] for r in first)
    path.write_text(text.replace("n_trials = 2", "n_trials = 3"))
    assert len(run_sweep(read_study(path), tmp_path / "out")) == 3
    assert {p: p.stat().st_mtime_ns for p in weights} == weights
    chosen = [
        json.loads((p / "config.json").read_text())["model"]["directions"]
        for p in (tmp_path / "out").glob("*/seed_0")
    ]
    assert all(1 <= d <= 9 for d in chosen)


def test_mistakes_are_named_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    for models, error, said in (
        ('kind = "nosuch"', UnknownNameError, "nosuch"),
        ("hidden_dim = 3", ConfigError, "has no kind"),
        ('kind = "lpm"\nhidden_dim = {low = 1, high = 2}', ConfigError, "holds a range"),
    ):
        path.write_text(f"{BASE}\n[[models]]\n{models}\n")
        with pytest.raises(error, match=said):
            read_study(path)
    path.write_text(f'{BASE}\n[[models]]\nkind = "lpm"\nwidht = [1]\n')
    with pytest.raises(ConfigError, match="widht"):
        run_sweep(read_study(path), tmp_path / "out")
    (tmp_path / "empty.py").write_text("x = 1\n")
    path.write_text(f'{BASE}\n[[models]]\nkind = "empty.py"\n')
    with pytest.raises(ConfigError, match="has no `card`"):
        read_study(path)


def test_without_ray_the_extra_is_named(study: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"perturbkit\[ray\]"):
        run_sweep(read_study(study), tmp_path / "out", ray="local")


@pytest.mark.slow
def test_a_local_ray_cluster_gives_what_processes_give(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    study.write_text(GRID.replace("seeds = [0, 1]", "seeds = [0]"))
    command = [sys.executable, "-m", "perturbkit", "sweep", str(study), "--ray", "local", "-o"]
    done = subprocess.run(
        [*command, str(tmp_path / "ray")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run_sweep(read_study(study), tmp_path / "here")
    for path in (tmp_path / "here").glob("*/seed_0/responses.parquet"):
        other = tmp_path / "ray" / path.relative_to(tmp_path / "here")
        assert other.read_bytes() == path.read_bytes()
