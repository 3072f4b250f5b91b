"""The Python API: the same verbs, on Python values."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import perturbkit as pk
from perturbkit.cli.main import run as cli
from perturbkit.core.errors import FileError
from perturbkit.core.responses import Responses
from perturbkit.data.splits import Split

OPTIONS = {"n_genes": 60, "n_perturbations": 14, "n_contexts": 2, "n_cells": 6}
STUDY = {
    "screen": {"source": "simulated", "options": {**OPTIONS, "n_control_cells": 10}},
    "train": {"n_epochs": 2, "block_rows": 8},
    "score": {"n_bootstrap": 100},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pk.Run:
    return pk.fit(STUDY, out=tmp_path_factory.mktemp("runs") / "r")


def test_load_gives_a_screen() -> None:
    screen = pk.load("simulated", seed=1, **OPTIONS)
    assert isinstance(screen, pk.Screen)
    assert len(screen.contexts) == 2


def test_the_split_that_was_taken_is_on_record(run: pk.Run) -> None:
    assert run.config["split"]["kind"] == "unseen_pair"
    assert run.config["model"]["kind"] == "lpm"


def test_score_has_every_baseline_and_the_ceiling(run: pk.Run) -> None:
    scores = pk.score(run)
    assert {"lpm", "context_mean", "mean_delta", "no_change"} <= set(scores.models)
    assert scores.models[-1].startswith("ceiling")
    compared = scores.compare("lpm", "no_change")
    assert compared["low"].is_not_nan().all()


def test_no_change_has_no_correlation_and_truth_is_not_beaten(run: pk.Run) -> None:
    table = pk.score(run, metrics=["pearson_delta"]).table
    value = dict(zip(table["model"], table["value"], strict=True))
    assert value["no_change"] == 0
    assert max(v for v in value.values()) <= 1


def test_predict_takes_tables_and_keeps_their_order(run: pk.Run) -> None:
    targets = list(pk.load("simulated", **OPTIONS).targets)[:2]
    table = pl.DataFrame({"perturbation": targets[::-1], "context": ["line2", "line1"]})
    predicted = pk.predict(run, table)
    assert predicted.conditions["perturbation"].to_list() == targets[::-1]
    assert predicted.contexts.tolist() == ["line2", "line1"]


def test_a_seed_gives_the_same_bits(run: pk.Run, tmp_path: Path) -> None:
    again = pk.fit(STUDY, out=tmp_path / "again")
    for name in ("model.safetensors", "responses.parquet", "truth.parquet", "split.parquet"):
        assert (again.path / name).read_bytes() == (run.path / name).read_bytes(), name
    other = pk.fit(STUDY, out=tmp_path / "other", settings=["seed=1"])
    weights = "model.safetensors"
    assert (other.path / weights).read_bytes() != (run.path / weights).read_bytes()


def test_without_validation_conditions_an_ensemble_still_states_intervals(tmp_path: Path) -> None:
    settings = ["split.val=0", "n_members=2", "screen.options.n_perturbations=40"]
    run = pk.fit(STUDY, out=tmp_path / "run", settings=settings)
    truth = Responses.load(run.path / "truth.parquet")
    split = Split.load(run.path / "split.parquet")
    assert not len(split.rows(truth, "val"))
    test = truth.select(split.rows(truth, "test"))
    predicted = pk.predict(run, test.conditions)
    assert predicted.values.shape[0] == 2
    low, high = predicted.interval(0.8)
    inside = (test.mean_cg >= low) & (test.mean_cg <= high)
    assert 0.6 < inside.mean() < 0.95


def test_closed_form_models_are_runs_too(tmp_path: Path) -> None:
    run = pk.fit("mean_delta", screen="simulated", out=tmp_path / "r",
                 settings=[f"screen.options.{k}={v}" for k, v in OPTIONS.items()])  # fmt: skip
    predicted = pk.predict(run, ["NOTAGENE", "control"], contexts=["line1"])
    assert predicted.conditions["status"].to_list() == ["refused", "seen"]


def test_names_never_heard_of_are_refused_and_held_out_ones_are_not(run: pk.Run, capsys) -> None:
    """The base of the LPM would answer any name with a mean."""
    split = pl.read_parquet(run.path / "split.parquet").filter(fold="test")
    held_out = split["key"][0].split(" | ")[0]
    predicted = pk.predict(run, [held_out, f"{held_out}x", f"{held_out}+NOTAGENE"])
    status = np.array(predicted.conditions["status"])
    named = predicted.conditions["perturbation"].to_numpy()
    assert (status[named == held_out] != "refused").all()
    assert (status[named != held_out] == "refused").all()
    assert np.isnan(predicted.mean_cg[status == "refused"]).all()
    assert set(pk.predict(run, [held_out], contexts=["lin1"]).conditions["status"]) == {"refused"}
    assert cli(["predict", str(run.path), f"{held_out}x", "--context", "lin1"]) == 0
    said = capsys.readouterr().err
    assert f"no perturbation named '{held_out}x'; did you mean '{held_out}'" in said
    assert "no context named 'lin1'; did you mean 'line1'" in said


def test_a_run_in_use_is_not_touched(run: pk.Run) -> None:
    with run.lock(), pytest.raises(FileError, match="another process"):
        pk.fit(STUDY, out=run.path, resume=True)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, perturbkit; sys.exit(any(n in sys.modules for n in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_ragged_table_of_transcripts_and_viability_is_fitted_and_judged(tmp_path: Path) -> None:
    """The long table has no rows for what was not measured; nothing is said or scored there."""
    rng = np.random.default_rng(0)
    names = [("control", np.zeros(3))] + [(f"T{i:02d}", rng.normal(size=3)) for i in range(30)]
    loadings = {f"R{g}": rng.normal(size=3) for g in range(20)}
    loadings |= {"viability_24h": rng.normal(size=3), "viability_72h": rng.normal(size=3)}
    rows = [
        (p, context, readout, float(4 + z @ loading / 3 + rng.normal(0, 0.02)))
        for context in "xyz" for p, z in names for readout, loading in loadings.items()
        if context == "x" or (context == "z") == readout.startswith("viability")
    ]  # fmt: skip
    schema = ["perturbation", "context", "readout", "value"]
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(tmp_path / "ragged.parquet")
    settings = [
        "screen.unit=log1p_cp10k", "split.kind=unseen_pair", "split.fraction=0.3",
        "train.n_epochs=3",
    ]  # fmt: skip
    run = pk.fit("lpm", screen=tmp_path / "ragged.parquet", out=tmp_path / "run", settings=settings)
    scores = pk.score(run, metrics=["rmse"])
    mean = {m: np.nanmean(scores.values[m, "rmse"]) for m in ("lpm", "context_mean")}
    assert mean["lpm"] < 0.8 * mean["context_mean"]
    said = Responses.load(run.path / "responses.parquet")
    is_viability = np.array([n.startswith("viability") for n in said.readouts])
    everything = np.ones_like(is_viability)
    for context, measured in {"x": everything, "y": ~is_viability, "z": is_viability}.items():
        finite = np.isfinite(said.mean_cg[said.contexts == context])
        assert (finite == measured).all(), context
