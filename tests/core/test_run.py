"""Runs never overwrite what they were not told to, and survive a cut line."""

from pathlib import Path

import pytest

from perturbkit.core.errors import FileError
from perturbkit.core.run import Run

CONFIG = {"seed": 0, "model": {"kind": "lpm"}}


def test_a_run_is_created_and_opened(tmp_path: Path) -> None:
    Run.create(tmp_path / "r", CONFIG, resume=False, force=False)
    run = Run.open(tmp_path / "r")
    assert run.config == CONFIG
    assert not run.is_finished
    with pytest.raises(FileError, match="fit --resume"):
        run.require_finished()


def test_folders_in_use_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileError, match="not empty and holds no run"):
        Run.create(tmp_path, CONFIG, resume=False, force=True)
    Run.create(tmp_path / "r", CONFIG, resume=False, force=False)
    with pytest.raises(FileError, match=r"--resume.*--force"):
        Run.create(tmp_path / "r", CONFIG, resume=False, force=False)
    with pytest.raises(FileError, match=r"other settings \(seed differ\)"):
        Run.create(tmp_path / "r", {**CONFIG, "seed": 1}, resume=True, force=False)
    (tmp_path / "r" / "notes.txt").write_text("mine")
    Run.create(tmp_path / "r", {**CONFIG, "seed": 1}, resume=False, force=True)
    assert (tmp_path / "r" / "notes.txt").exists(), "only what runs write is removed"


def test_records_survive_a_cut_line(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG, resume=False, force=False)
    for step in range(3):
        run.log({"step": step})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert [r["step"] for r in run.records()] == [0, 1, 2]
    run.keep_records(2)
    assert [r["step"] for r in run.records()] == [0, 1]


def test_two_processes_cannot_write_at_once(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG, resume=False, force=False)
    with run.lock(), pytest.raises(FileError, match="another process"), run.lock():
        pass


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no run at"):
        Run.open(tmp_path / "absent")
    with pytest.raises(FileError, match="holds no run"):
        Run.open(tmp_path)
    (tmp_path / "config.yaml").touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "last.ckpt").touch()
    for place in (tmp_path, tmp_path / "last.ckpt"):
        with pytest.raises(FileError, match=r"another program .* perturbkit score adata_pred"):
            Run.open(place)
