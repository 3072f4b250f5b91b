"""The command line as a new user meets it: the main path, and one clear line for each mistake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from perturbkit.cli.main import run as cli
from perturbkit.core.responses import Responses
from perturbkit.core.run import Run

TINY = [
    "screen.options.n_genes=60", "screen.options.n_perturbations=16",
    "screen.options.n_contexts=2", "screen.options.n_cells=6",
    "screen.options.n_control_cells=12", "train.n_epochs=3", "model.hidden_dim=16",
    "train.block_readouts=16", "train.block_rows=8", "score.n_bootstrap=100",
]  # fmt: skip


def fit_arguments(out: Path, *more: str) -> list[str]:
    settings = [part for s in (*TINY, *more) for part in ("--set", s)]
    return ["fit", "lpm", "--screen", "simulated", "-o", str(out), "-q", *settings]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert cli(fit_arguments(out)) == 0
    return out


def test_fit_score_report(fitted: Path, capsys) -> None:
    assert cli(["score", str(fitted), "-o", str(fitted / "table.csv")]) == 0
    shown = capsys.readouterr().out
    assert "context_mean" in shown
    assert "ceiling (split halves)" in shown
    assert "95 % paired bootstrap" in shown
    assert (fitted / "table.csv").exists()
    assert cli(["report", str(fitted)]) == 0
    page = (fitted / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_predictions_carry_their_status_and_are_never_zero(fitted: Path, tmp_path, capsys) -> None:
    truth = Responses.load(fitted / "truth.parquet")
    seen = next(p for p in truth.conditions["perturbation"] if p not in ("control",))
    unseen = next(g for g in truth.readouts if g not in set(truth.conditions["perturbation"]))
    out = tmp_path / "p.parquet"
    asked = [seen, unseen, "NOTAGENE", "control"]
    assert cli(["predict", str(fitted), *asked, "--context", "line1", "-o", str(out)]) == 0
    predicted = Responses.load(out)
    assert predicted.conditions["status"].to_list() == ["seen", "prior", "refused", "seen"]
    assert np.isnan(predicted.mean_cg[2]).all()
    assert np.isfinite(predicted.mean_cg[[0, 1, 3]]).all()
    assert (predicted.mean_cg[[0, 1]] != 0).any(1).all()
    assert "1 of 4 conditions were refused" in capsys.readouterr().err
    assert cli(["predict", str(fitted), seen, "--context", "HELA"]) == 0
    assert "refused" in capsys.readouterr().out


def test_saved_predictions_equal_those_of_the_fit(fitted: Path) -> None:
    from perturbkit.recipes.fitted import Fitted

    saved = Responses.load(fitted / "responses.parquet")
    again = Fitted.open(fitted).predict(saved.conditions.drop("status", "n_cells"))
    np.testing.assert_array_equal(again.values, saved.values)


def error_of(arguments: list[str], capsys) -> str:
    assert cli(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "lmp"], "no recipe or model named 'lmp'; did you mean 'lpm'?"),
        (["fit", "lpm", "--screen", "op4"], "no screen named 'op4'; did you mean 'op3'?"),
        (["fit", "lpm", "--screen", "no/such.h5ad"], "no screen at no/such.h5ad"),
        (["fit", "lpm", "--screeen", "op3"], "No such option: --screeen"),
        (["fit", "lpm", "--set", "model.widht=3"], "model.widht: no setting named 'widht'"),
        (["fit", "lpm", "--set", "model.hidden_dim=x"], "model.hidden_dim: expected int, got 'x'"),
        (["fit", "lpm", "--set", "train.n_epochs"], "write --set path.to.key=value"),
        (["fit", "lpm", "--set", "split.kind=unseen_par"], "did you mean 'unseen_pair' or"),
        (["fit", "lpm", "--set", "features=spectra:string"], "did you mean 'spectral'?"),
        (["fit", "lpm", "--set", "features=foo"], "is not auto, none, EMBEDDING:NETWORK or"),
        (["fit", "lpm", "--set", 'score.metrics=["mea"]'], "no metric named 'mea'"),
        (["fit", "lpm", "--set", 'score.baselines=["foo"]'], "no model named 'foo'"),
        (["fit", "absent.toml"], "no settings file at absent.toml"),
        (["score", "no/run"], "no run at no/run"),
        (["predict", "no/run", "A"], "no run at no/run"),
        (["list", "model"], "did you mean 'models'?"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys
) -> None:
    if arguments[0] == "fit":
        arguments = [*arguments, "-o", str(tmp_path / "out")]
    assert message in error_of(arguments, capsys)
    assert not list(tmp_path.iterdir())


def test_damaged_screens_are_one_line_and_leave_nothing(tmp_path, real_data, capsys) -> None:
    out = ["-o", str(tmp_path / "out")]
    for name, folder in (
        ("op3_signed_ranks_B_NK_T.npz", "op3"),
        ("papalexi2021_eccite_299genes.h5ad", "papalexi2021"),
    ):
        whole = (real_data / folder / name).read_bytes()
        cut = tmp_path / name
        cut.write_bytes(whole[: len(whole) // 2])
        message = error_of(["fit", "lpm", "--screen", str(cut), *out], capsys)
        assert "not a whole" in message or "is cut short" in message
    path = str(real_data / "papalexi2021" / "papalexi2021_eccite_299genes.h5ad")
    wrong = ["fit", "lpm", "--screen", path, "--set", "screen.unit=log1p_cp10k", *out]
    assert "is in counts, not in log1p_cp10k" in error_of(wrong, capsys)
    assert not (tmp_path / "out").exists()


def test_predicting_nothing_or_nonsense(fitted: Path, tmp_path: Path, capsys) -> None:
    assert "no condition to predict" in error_of(["predict", str(fitted)], capsys)
    assert "empty name beside a '+'" in error_of(["predict", str(fitted), "A+"], capsys)
    odd = ["predict", str(fitted), "A", "-o", str(tmp_path / "p.xlsx")]
    assert "written as .csv, .tsv or .parquet" in error_of(odd, capsys)
    table = tmp_path / "t.csv"
    table.write_text("gene\nA\n")
    asked = ["predict", str(fitted), "--table", str(table)]
    assert "needs a column 'perturbation'" in error_of(asked, capsys)


def test_a_run_is_not_overwritten_unasked(fitted: Path, capsys) -> None:
    assert "--resume" in error_of(fit_arguments(fitted), capsys)
    assert cli([*fit_arguments(fitted), "--resume"]) == 0


def test_tampered_weights_are_refused(fitted: Path, tmp_path: Path, capsys) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(fitted, copy)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(weights))
    assert "is not the file that was written" in error_of(["predict", str(copy), "A"], capsys)


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, perturbkit.cli.main as m; m.run(['--help']);"
        "sys.exit(any(n in sys.modules for n in ('torch', 'anndata', 'polars', 'numpy', 'scipy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, "the help imports a heavy library"


def _fit_in_process(out: Path, *more: str) -> subprocess.Popen[bytes]:
    arguments = fit_arguments(out, "n_members=2", "train.checkpoint_seconds=0", *more)
    code = "import sys; from perturbkit.cli.main import run; sys.exit(run(sys.argv[1:]))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments, "--resume"], env=environment,
            stdout=log, stderr=log,
        )  # fmt: skip


@pytest.mark.slow
def test_killed_fits_resume_to_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL at random points of training, twice in a row, then on to the end."""
    more = ("train.n_epochs=12", "train.patience=0", "model.dropout=0.2")
    whole = _fit_in_process(tmp_path / "whole", *more)
    rng = np.random.default_rng()
    killed_at = []
    for wait in (int(rng.integers(1, 40)), int(rng.integers(40, 100))):
        process = _fit_in_process(tmp_path / "killed", *more)
        _wait_for_steps(tmp_path / "killed", wait, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at.append(wait)
        assert not Run.open(tmp_path / "killed").is_finished
    assert whole.wait(timeout=120) == 0, (tmp_path / "whole.log").read_text()
    last = _fit_in_process(tmp_path / "killed", *more)
    assert last.wait(timeout=120) == 0, (tmp_path / "killed.log").read_text()
    for name in ("model.safetensors", "responses.parquet"):
        expected = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "killed" / name).read_bytes() == expected, (name, killed_at)
    steps = [
        [(r["member"], r["step"]) for r in Run.open(tmp_path / n).records()]
        for n in ("whole", "killed")
    ]
    assert steps[0] == steps[1]


def _wait_for_steps(out: Path, n_steps: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a checkpoint of at least so many steps, over both members, is there."""
    for _ in range(1200):
        found = [int(p.name[5:]) for p in out.glob("checkpoints/member_*/step_*")]
        if found and max(found) >= n_steps:
            return
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.05)
    pytest.fail("no checkpoint appeared")
