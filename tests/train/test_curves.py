"""Curves say how a training does beside the baselines, and end it when it does not beat them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from perturbkit.core.responses import Responses
from perturbkit.core.run import Run
from perturbkit.train.curves import Curves, Recorder
from perturbkit.train.loop import Event


@pytest.fixture
def curves(planted_law) -> tuple[Curves, Responses]:
    held = [f"G{i:02d} | {c}" for i in (3, 9, 21, 30) for c in ("liver", "skin")]
    train, val = planted_law.split(held)
    return Curves(train, val, patience=2), val


def model_of(val: Responses, noise: float):
    rng = np.random.default_rng(0)
    values = val.values + noise * rng.normal(size=val.values.shape)
    return SimpleNamespace(predict=lambda _: replace(val, values=values))


def event(step: int) -> Event:
    return Event(step, 30, step // 10, 0.1, 0.1, 1e-3, 1.0)


def test_the_truth_is_best_and_the_baselines_are_beside_it(curves) -> None:
    scores, val = curves
    found = scores.of(model_of(val, 0.0))
    assert found["val_pearson_delta"] == pytest.approx(1, abs=1e-4)
    assert found["val_discrimination_cosine"] == pytest.approx(1)
    assert found["val_top_50_overlap"] == pytest.approx(1)
    assert 0.2 < found["baseline_pearson_delta"] < 0.99
    assert scores.of(model_of(val, 3.0))["val_pearson_delta"] < found["baseline_pearson_delta"]


def test_a_training_that_beats_no_baseline_is_stopped_and_says_so(tmp_path, curves) -> None:
    scores, val = curves
    run = Run.create(tmp_path / "run", {"a": 1}, resume=False, force=False)
    good, bad = model_of(val, 0.0), model_of(val, 3.0)
    recorder = Recorder(run, 0, bad, scores)
    told = []
    for step, model in ((10, bad), (20, good), (30, bad), (40, bad)):
        recorder.model = model
        recorder.record(event(step))
        told.append(recorder.stop())
    assert told == [False, False, False, True]
    last = run.records()[-1]
    assert "did not beat the best simple baseline" in last["verdict"]
    assert last["val_pearson_delta"] < last["baseline_pearson_delta"]


def test_a_resumed_member_writes_its_lines_again_and_others_stay(tmp_path, curves) -> None:
    run = Run.create(tmp_path / "run", {"a": 1}, resume=False, force=False)
    first, second = Recorder(run, 0, None, None), Recorder(run, 1, None, None)
    for recorder, step in ((first, 10), (second, 10), (second, 20), (second, 20)):
        recorder.record(event(step))
    assert [(r["member"], r["step"]) for r in run.records()] == [(0, 10), (1, 10), (1, 20)]
    assert not first.stop()
