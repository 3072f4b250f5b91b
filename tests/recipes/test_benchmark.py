"""Benchmarks: tasks are checked before anything runs, predictions are kept, the page tells all."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perturbkit.core.errors import ConfigError, FileError, UnknownNameError
from perturbkit.metrics.score import CEILINGS
from perturbkit.models import MODELS
from perturbkit.recipes import benchmark as module
from perturbkit.recipes.benchmark import benchmark, read_task, shipped

TASK = """
name = "tiny"
summary = "two models <b>on</b> a small simulation"
models = ["no_change", "mean_delta", "cross_context_ridge"]
metrics = ["pearson_delta", "rmse"]
n_bootstrap = 100
split = { kind = "unseen_pair", folds = 3 }
[screen]
source = "simulated"
[screen.options]
n_genes = 60
n_contexts = 2
n_perturbations = 12
n_cells = 20
n_control_cells = 60
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(TASK)
    return file


def test_every_shipped_task_is_valid() -> None:
    assert len(shipped()) >= 10
    for name in shipped():
        task = read_task(name)
        assert task.name == name
        assert task.summary


def test_faults_are_found_before_anything_runs(tmp_path: Path, task: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'op3_unseen_pair'"):
        benchmark([task, "op3_unseen_pairs"], tmp_path / "out")
    with pytest.raises(FileError):
        benchmark([task, tmp_path / "none.toml"], tmp_path / "out")
    task.write_text(TASK.replace("no_change", "nochange"))
    with pytest.raises(ConfigError, match=r"tiny\.toml: models: .* did you mean 'no_change'"):
        benchmark([task], tmp_path / "out")
    task.write_text("colour = 1\n" + TASK)
    with pytest.raises(ConfigError, match="colour"):
        benchmark([task], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_leaderboard_and_resuming(tmp_path: Path, task: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    table = benchmark([task], out)
    assert set(table["model"]) == {"no_change", "mean_delta", "cross_context_ridge", *CEILINGS}
    first = table.filter(metric="rmse", model="no_change").row(0, named=True)
    assert first["baseline"]
    assert first["n"] == 24, "each pair is held out once"
    ranks = table.filter(pl.col("metric") == "rmse", ~pl.col("model").is_in(CEILINGS))["rank"]
    assert sorted(ranks) == [1, 2, 3]
    best = table.filter(metric="rmse", rank=1)
    assert (
        best["value"].item()
        == table.filter(pl.col("metric") == "rmse", ~pl.col("model").is_in(CEILINGS))["value"].min()
    )
    page = (out / "leaderboard.html").read_text()
    assert "&lt;b&gt;on&lt;/b&gt;" in page
    assert "<b>on</b>" not in page
    assert "http" not in page, "the page is offline"
    assert "cross_context_ridge" in (out / "leaderboard.md").read_text()
    assert "effect 1 of 3 (n 8)" in page, "strata are shown"
    strata = pl.read_parquet(out / "strata.parquet").filter(model="mean_delta", metric="rmse")
    assert set(strata["by"]) == {"effect", "subgroup", "context"}
    assert strata.filter(by="subgroup")["stratum"].to_list() == ["seen_single"]
    assert strata.group_by("by").agg(pl.col("n").sum())["n"].to_list() == [24, 24, 24]
    share = table.filter(metric="rmse").select("model", "share").rows()
    assert dict(share)["mean_delta"] == 0
    assert max(dict(share)[name] for name in CEILINGS) == 1
    monkeypatch.setattr(module, "fit_member", lambda *_: pytest.fail("was fitted before"))
    again = benchmark([task], out)
    np.testing.assert_array_equal(table["value"], again["value"])
    assert pl.read_parquet(out / "leaderboard.parquet").height == table.height


def test_networks_of_cells_train_no_longer_than_the_task_says(tmp_path: Path, task: Path) -> None:
    task.write_text(
        "cell_epochs = 1\n" + TASK.replace('"cross_context_ridge"', '"conditional_vae"')
    )
    config = read_task(task)
    assert module.training(MODELS["conditional_vae"], config).n_epochs == 1
    assert module.training(MODELS["lpm"], config).n_epochs > 1
    task.write_text(task.read_text().replace("folds = 3", "folds = 2"))
    table = benchmark([task], tmp_path / "out")
    row = table.filter(model="conditional_vae", metric="rmse").row(0, named=True)
    assert np.isfinite(row["value"])
    assert row["fit_s"] > 0
    page = (tmp_path / "out" / "leaderboard.html").read_text()
    assert "Networks of single cells: at most 1 epochs" in page


def test_models_that_do_not_apply_are_listed(tmp_path: Path, task: Path) -> None:
    text = TASK.replace("n_contexts = 2", "n_contexts = 1").replace(
        "unseen_pair", "unseen_perturbation"
    )
    task.write_text(text)
    table = benchmark([task], tmp_path / "out")
    reason = table.filter(model="cross_context_ridge")["reason"]
    assert reason[0].startswith("does not apply: no perturbation was measured in two contexts")
    assert "does not apply" in (tmp_path / "out" / "leaderboard.html").read_text()


def test_refusing_what_is_hard_does_not_raise_the_rank(
    tmp_path: Path, task: Path, monkeypatch
) -> None:
    """A model that answers only its best conditions has a better mean and the same rank."""
    out = tmp_path / "out"
    before = benchmark([task], out).filter(metric="rmse", model="mean_delta").row(0, named=True)
    score = module.score

    def picky(truth, predictions, **options):
        whole = score(truth, predictions, **options)
        values = whole.values["mean_delta", "rmse"]
        hard = {
            k for k, v in zip(whole.scored["key"], values, strict=True) if v > np.median(values)
        }
        mean = predictions["mean_delta"]
        easy = mean.select(np.array([k not in hard for k in mean.keys]))
        kept = predictions | {"mean_delta": easy, "context_mean": mean}
        return score(truth, kept, **options)

    monkeypatch.setattr(module, "score", picky)
    after = benchmark([task], out).filter(metric="rmse", model="mean_delta").row(0, named=True)
    assert after["value"] < before["value"]
    assert after["n"] < before["n"]
    assert after["filled"] == pytest.approx(before["value"])
