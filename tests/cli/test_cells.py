"""`perturbkit cells`: store, fit, draw; a mistake is one line and leaves nothing."""

import anndata as ad
import pytest

from perturbkit.cli.main import run
from perturbkit.data.read.h5ad import write_screen
from perturbkit.data.screens import open_screen


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A store, and a run of a model of cells and one of profiles fitted on it."""
    folder = tmp_path_factory.mktemp("cells")
    write_screen(open_screen("simulated", seed=3, preset="tiny"), folder / "a.h5ad")
    store = folder / "store"
    assert run(["cells", "store", str(folder / "a.h5ad"), "-o", str(store), "-q"]) == 0
    for model in ("shifted_controls", "context_mean"):
        out = ["-o", str(folder / model), "-q"]
        assert run(["fit", model, "--screen", str(store), *out]) == 0
    return folder


def test_cells_are_drawn_from_a_run_on_a_store(fitted, capsys) -> None:
    out = fitted / "drawn.h5ad"
    asked = ["G0001", "control", "-n", "9", "-o", str(out)]
    assert run(["score", str(fitted / "shifted_controls")]) == 0
    assert run(["cells", "predict", str(fitted / "shifted_controls"), *asked]) == 0
    assert "9 cells of each of 4 conditions" in capsys.readouterr().out
    cells = ad.read_h5ad(out)
    assert cells.n_obs == 36
    assert cells.uns["perturbkit"]["unit"] == "log1p_cp10k"
    assert set(cells.obs["perturbation"]) == {"G0001", "control"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "context_mean", "G0001", "-o", "x.h5ad"], "predicts means, not cells"),
        (["predict", "shifted_controls", "G0001", "-o", "x.csv"], "written as .h5ad"),
        (["predict", "shifted_controls", "G0001", "--context", "mars", "-o", "x.h5ad"], "refused"),
        (["store", "a.h5ad", "-o", "store"], "holds a cell store already"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    fitted, arguments, said, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(fitted)
    before = sorted(p.name for p in fitted.iterdir())
    assert run(["cells", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert sorted(p.name for p in fitted.iterdir()) == before


def test_a_store_takes_no_reading_options(fitted, tmp_path, capsys) -> None:
    asked = ["--screen", str(fitted / "store"), "--set", "screen.unit=zscore"]
    assert run(["fit", "context_mean", *asked, "-o", str(tmp_path / "r"), "-q"]) == 2
    assert "drop them" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
