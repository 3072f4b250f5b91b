"""`perturbkit predict --controls`: a context the run never saw, described by its controls."""

from pathlib import Path

import numpy as np
import pytest

from perturbkit.cli.main import run as cli
from perturbkit.core.responses import Responses
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen

OPTIONS = {"preset": "four_contexts", "n_genes": 60, "n_perturbations": 25, "n_cells": 15,
           "n_control_cells": 60}  # fmt: skip


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Responses]:
    """A folder with a run on three contexts and the controls of the fourth, and its truth."""
    folder = tmp_path_factory.mktemp("contexts")
    screen = open_screen("simulated", seed=0, **OPTIONS)
    cells = screen.adata
    is_new = cells.obs["context"] == "line4"
    cells[~is_new].write_h5ad(folder / "three.h5ad")
    cells[is_new & (cells.obs["perturbation"] == "control")].write_h5ad(folder / "new.h5ad")
    truth = responses_of(screen)
    settings = ("model.context_from=control", "screen.unit=counts", "train.n_epochs=3")
    fit = ["fit", "lpm", "--screen", str(folder / "three.h5ad"), "-o", str(folder / "run"), "-q"]
    assert cli([*fit, *[word for s in settings for word in ("--set", s)]]) == 0
    return folder, truth.select(truth.contexts == "line4")


def test_controls_alone_answer_a_context_never_seen(case, capsys) -> None:
    folder, truth = case
    names = sorted(set(truth.conditions["perturbation"]))
    out = folder / "out.parquet"
    new = ["--controls", str(folder / "new.h5ad")]
    assert cli(["predict", str(folder / "run"), *names, *new, "-o", str(out)]) == 0
    assert "line4" in capsys.readouterr().out
    predicted = Responses.load(out)
    assert set(predicted.contexts) == {"line4"}  # what the file describes, without being asked
    status = predicted.conditions["status"].to_numpy()
    assert set(status[~predicted.is_control]) == {"prior"}
    measured = truth.at([k for k in truth.keys if k in set(predicted.keys)])
    said = predicted.at(measured.keys).mean_cg
    control = measured.mean_cg[measured.is_control][0]
    np.testing.assert_allclose(said[measured.is_control][0], control, rtol=1e-4)
    changes = [(v - control)[~measured.is_control] for v in (said, measured.mean_cg)]
    own = [np.corrcoef(*pair)[0, 1] for pair in zip(*changes, strict=True)]
    assert np.mean(own) > 0.4


def test_without_controls_it_is_refused_and_wrong_files_are_said(case, capsys) -> None:
    folder, _ = case
    run = str(folder / "run")
    assert cli(["predict", run, "G0006", "--context", "line4"]) == 0
    assert "refused" in capsys.readouterr().out
    wrong = (
        (["--controls", str(folder / "new.h5ad"), "--unit", "signed_rank"], "lie in"),
        (["--controls", str(folder / "none.h5ad")], "no screen at"),
        (["--unit", "counts"], "--unit is for the file of --controls"),
    )
    for words, said in wrong:
        assert cli(["predict", run, "G0006", *words]) == 2
        assert said in capsys.readouterr().err
