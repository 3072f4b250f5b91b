"""`perturbkit score PREDICTIONS --truth REAL` from the command line."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perturbkit.cli.main import run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    names = ["ctrl", *(f"p{i}" for i in range(6))]
    truth = np.abs(rng.gamma(2, 1, (1, 240)) + rng.normal(0, 0.5, (7, 240)))
    for name, values in (("real", truth), ("pred", truth + rng.normal(0, 0.1, truth.shape))):
        table = pl.DataFrame(values, schema=[f"g{i}" for i in range(240)], orient="row")
        table.insert_column(0, pl.Series("condition", names)).write_csv(tmp_path / f"{name}.csv")
    return tmp_path


def call(*arguments: object) -> int:
    return run(["score", *map(str, arguments)])


def test_table_on_screen_and_on_disk(files: Path, capsys) -> None:
    out = files / "table.csv"
    # no halves of means, so nothing but the ceiling is missing
    assert call(files / "pred.csv", "--truth", files / "real.csv", "-o", out) == 0
    assert "pearson_delta" in capsys.readouterr().out
    table = pl.read_csv(out)
    assert table.columns[:7] == ["metric", "value", "low", "high", "n", "baseline", "ceiling"]
    assert table.filter(metric="pearson_delta")["value"].item() > 0.9


def test_what_cannot_be_computed_fails_with_its_reason(files: Path, capsys) -> None:
    for name in ("real", "pred"):
        pl.read_csv(files / f"{name}.csv").select("condition", "g0", "g1", "g2").write_csv(
            files / f"{name}3.csv"
        )
    assert call(files / "pred3.csv", "--truth", files / "real3.csv") == 1
    said = capsys.readouterr()
    assert "no more than 50 readouts were measured" in said.out
    assert "could not be computed" in said.err


def test_mistakes_are_one_line(files: Path, capsys) -> None:
    for arguments, match in (
        ((files / "no.csv", "--truth", files / "real.csv"), "no.csv"),
        ((files / "pred.csv", "--truth", files / "real.csv", "--profile", "fll"), "profile"),
        ((files / "pred.csv", "--truth", files / "real.csv", "--unit", "counts"), "unit"),
        ((files / "pred.csv", "--profile", "vcc"), "--truth"),
        (
            (files / "pred.csv", "--truth", files / "real.csv", "--perturbation", "cond"),
            "condition",
        ),
        ((files / "pred.csv", "--truth", files / "real.csv", "-o", files / "t.xlsx"), ".csv"),
    ):
        assert call(*arguments) == 2
        error = capsys.readouterr().err
        assert match in error
        assert len(error.strip().splitlines()) == 1
    assert sorted(p.name for p in files.iterdir()) == ["pred.csv", "real.csv"]
