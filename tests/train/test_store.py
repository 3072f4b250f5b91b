"""Fitted models on disk: an older run loads as what it was, or says exactly why not."""

import json
from pathlib import Path

import numpy as np
import pytest

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.errors import FileError
from perturbkit.core.files import read_json, sha256, write_json
from perturbkit.core.responses import Responses
from perturbkit.core.run import Run
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.lpm import LpmConfig, card
from perturbkit.train.store import load_members, save_members


def small(rng: np.random.Generator) -> Responses:
    conditions = [Condition(t, c) for c in "xy" for t in [(), ("A",), ("B",), ("C",)]]
    readouts = Vocabulary([f"R{i}" for i in range(6)], "readout")
    values = rng.normal(size=(1, 8, 6)) + 3
    return Responses(values, condition_table(conditions), readouts, "log1p_cp10k")


def saved(path: Path, rng: np.random.Generator) -> tuple[Run, Responses]:
    truth = small(rng)
    older = LpmConfig(products=0, row_hidden=0, warm_start=False, hidden_dim=8, base="none")
    run = Run.create(path, {"model": {"kind": "lpm"}}, resume=False, force=False)
    model = card.model.build(older, truth, None, rng).eval()
    save_members(run, card, older, [model])
    return run, model.predict(truth.conditions)


def test_a_run_from_before_a_setting_existed_loads_to_the_bit(tmp_path: Path, rng) -> None:
    run, before = saved(tmp_path / "run", rng)
    about = read_json(run.path / "model.json")
    for name in (*card.before, "loss", "product_rank"):
        about["config"].pop(name, None)  # as 0.1.0 wrote it
    write_json(run.path / "model.json", about)
    (again,) = load_members(run, card)
    np.testing.assert_array_equal(again.predict(before.conditions).values, before.values)


def test_weights_of_another_shape_are_named(tmp_path: Path, rng) -> None:
    run, _ = saved(tmp_path / "run", rng)
    about = read_json(run.path / "model.json")
    about["config"]["hidden_dim"] = 16
    write_json(run.path / "model.json", about)
    with pytest.raises(FileError, match=r"do not fit its settings.*decoder"):
        load_members(run, card)


def test_another_layout_says_which(tmp_path: Path, rng) -> None:
    run, _ = saved(tmp_path / "run", rng)
    about = json.loads((run.path / "model.json").read_text())
    write_json(run.path / "model.json", about | {"format": 99})
    with pytest.raises(FileError, match="layout 99; this reads 1"):
        load_members(run, card)
    assert sha256(run.path / "model.safetensors") == about["sha256"]
