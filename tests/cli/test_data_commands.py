"""prepare, check, de and names from the command line: output, exit codes, nothing left behind."""

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
import typer
from scipy import sparse
from typer.testing import CliRunner

from perturbkit.cli.check import check
from perturbkit.cli.de import de
from perturbkit.cli.export import export
from perturbkit.cli.prepare import prepare
from perturbkit.core.errors import FileError, PerturbkitError
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen

app = typer.Typer()
for command in (prepare, check, de, export):
    app.command(command.__name__)(command)


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.choice(["NT", "A", "B"], 300)
    rate = np.where((labels == "A")[:, None] & (np.arange(8) == 2), 6.0, 2.0)
    obs = pd.DataFrame({"gene": labels}, index=[f"c{i}" for i in range(300)])
    x_ng = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    var = pd.DataFrame(index=[f"g{i}" for i in range(8)])
    ad.AnnData(x_ng, obs=obs, var=var).write_h5ad(tmp_path / "mine.h5ad")
    return tmp_path / "mine.h5ad"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


KNOWN = ("--unit", "counts", "--set", "perturbation=gene", "--set", "control=NT")


def test_prepare_plans_then_writes(file, tmp_path):
    out = tmp_path / "out"
    said = run("prepare", file, "-o", out, *KNOWN, "--plan")
    assert said.exit_code == 0
    assert "300 cells x 8 readouts" in said.output
    assert not out.exists()
    said = run("prepare", file, "-o", out, *KNOWN, "--quiet")
    assert said.exit_code == 0, said.output
    assert "2 perturbations" in said.output
    assert open_screen(out / "profiles.h5ad").describe()["n_rows"] == 3
    again = run("prepare", file, "-o", out, *KNOWN)
    assert isinstance(again.exception, FileError)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_exported_table_opens_as_the_same_screen(file, tmp_path, suffix):
    assert run("prepare", file, "-o", tmp_path / "out", *KNOWN, "--quiet").exit_code == 0
    profiles, table = tmp_path / "out" / "profiles.h5ad", tmp_path / f"long.{suffix}"
    said = run("export", profiles, "-o", table)
    assert said.exit_code == 0, said.output
    assert "24 values of 3 conditions" in said.output
    measured = responses_of(open_screen(profiles))
    again = responses_of(open_screen(table, unit=measured.unit)).at(measured.keys)
    np.testing.assert_allclose(
        again.with_readouts(measured.readouts).mean_cg, measured.mean_cg, rtol=1e-6
    )
    refused = run("export", profiles, "-o", tmp_path / "long.xlsx")
    assert isinstance(refused.exception, FileError)


@pytest.mark.parametrize(
    "arguments",
    [
        ("prepare", "FILE", "-o", "OUT"),
        ("prepare", "FILE", "-o", "OUT", "--unit", "counts"),
        ("prepare", "FILE", "-o", "OUT", *KNOWN, "--set", "min_cels=3"),
        ("prepare", "absent.h5ad", "-o", "OUT", *KNOWN),
        ("prepare", "FILE", "-o", "OUT", *KNOWN, "--max-memory", "80"),
        ("check", "absent.h5ad"),
        ("check", "FILE", "--unit", "count"),
        ("check", "FILE", "--fix", "OUT"),
        ("de", "FILE", "-o", "OUT"),
        ("de", "FILE", "-o", "OUT", *KNOWN, "--method", "deseq"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(file, tmp_path, arguments):
    out = tmp_path / "out"
    said = run(*[{"FILE": file, "OUT": out}.get(a, a) for a in arguments])
    assert isinstance(said.exception, PerturbkitError)
    assert "\n" not in str(said.exception)
    assert not out.exists()


def test_check_and_de(file, tmp_path):
    said = run("check", file)
    assert said.exit_code == 1
    assert "no column of obs is known" in said.output
    fixed = tmp_path / "fixed.h5ad"
    said = run("check", file, "--set", "perturbation=gene", "--fix", fixed)
    assert said.exit_code == 0, said.output
    said = run("de", fixed, "-o", tmp_path / "de.parquet")
    assert said.exit_code == 0, said.output
    assert "A in default" in said.output
    table = pl.read_parquet(tmp_path / "de.parquet").sort("p_value")
    assert table.select("perturbation", "readout").row(0) == ("A", "g2")
