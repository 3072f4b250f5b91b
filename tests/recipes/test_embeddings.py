"""Embeddings in files, and the whole grid of a run written in blocks."""

from pathlib import Path

import anndata as ad
import numpy as np
import polars as pl
import pytest

from perturbkit.cli.main import run as cli
from perturbkit.core.errors import ConfigError
from perturbkit.core.features import Features
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.recipes import grid, verbs
from perturbkit.recipes.embeddings import joined, write_embeddings
from perturbkit.recipes.fitted import Fitted

SMALL = {
    "screen": {"source": "simulated", "options": {"preset": "tiny"}},
    "score": {"baselines": ["context_mean"], "n_bootstrap": 100},
    "model": {"kind": "lpm", "base": "context_mean"},
    "train": {"n_epochs": 2},
    "split": {"kind": "unseen_pair", "val": 0.3},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return verbs.fit(SMALL, out=tmp_path_factory.mktemp("run") / "run").path


def test_neighbours_are_those_of_the_mean_cosine(rng: np.random.Generator) -> None:
    names = Vocabulary(list("abcdef"), "target")
    members = [Features(names, rng.normal(size=(6, 5))) for _ in range(3)]
    cosine = np.mean(
        [(u := m.values / np.linalg.norm(m.values, axis=1, keepdims=True)) @ u.T for m in members],
        axis=0,
    )
    np.fill_diagonal(cosine, -np.inf)
    found = joined(members).nearest(np.arange(6), np.arange(6), 2)
    for i, name in enumerate(names):
        mine = found.filter(name=name)
        assert mine["neighbour"].to_list() == [names[int(j)] for j in np.argsort(-cosine[i])[:2]]
        np.testing.assert_allclose(mine["cosine"][0], cosine[i].max(), rtol=1e-4)
    assert joined(members).map().shape == (6, 2)


def test_compounds_are_matched_with_genetic_targets_alone(rng, tmp_path, monkeypatch, run) -> None:
    from perturbkit.recipes import embeddings

    kinds = {n: "drug" if i % 3 == 0 else "ko" for i, n in enumerate(
        Fitted.open(run).members[0].encoder.names)}  # fmt: skip
    monkeypatch.setattr(embeddings, "_kinds", lambda _: kinds)
    rows = write_embeddings(run, tmp_path / "out", 3)
    table = pl.read_csv(tmp_path / "out" / "mechanisms.csv")
    assert rows["mechanisms"] == table.height == 3 * sum(k == "drug" for k in kinds.values())
    assert {kinds[n] for n in table["name"]} == {"drug"}
    assert {kinds[n] for n in table["neighbour"]} == {"ko"}


def test_the_command_writes_tables_and_a_map(run: Path, tmp_path: Path, capsys) -> None:
    assert cli(["embed", str(run), "-o", str(tmp_path / "e")]) == 0
    table = pl.read_csv(tmp_path / "e" / "perturbation.csv")
    assert {"name", "x", "y", "kind", "d0"} <= set(table.columns)
    assert (tmp_path / "e" / "perturbation.svg").read_text().startswith("<svg")
    assert "neighbours.csv" in capsys.readouterr().out


def test_models_without_embeddings_are_named(tmp_path: Path) -> None:
    other = verbs.fit(SMALL | {"model": {"kind": "context_mean"}}, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="context_mean learns no embeddings"):
        write_embeddings(other, tmp_path / "e")


def test_the_grid_in_blocks_equals_the_prediction_at_once(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(grid, "_VALUES_AT_ONCE", 60 * 7)  # seven conditions at a time
    assert cli(["predict", str(run), "--all", "-o", str(tmp_path / "g.h5ad")]) == 0
    written = ad.read_h5ad(tmp_path / "g.h5ad")
    fitted = Fitted.open(run)
    from perturbkit.core.condition import condition_table

    whole = fitted.predict(condition_table(grid.grid_conditions(fitted.run)))
    assert written.obs_names.tolist() == whole.keys
    np.testing.assert_allclose(written.X, whole.mean_cg, rtol=1e-5, atol=1e-6)
    assert written.obs["status"].tolist() == whole.conditions["status"].to_list()
    if whole.spread is not None:
        np.testing.assert_allclose(
            written.layers["half_width_80"], whole.spread.half_width(0.8), rtol=1e-3
        )
    assert cli(["predict", str(run), "--all", "-o", str(tmp_path / "g.csv")]) == 2


def test_intervals_reach_files_and_the_summary(run: Path, tmp_path: Path, capsys) -> None:
    name = Fitted.open(run).members[0].encoder.names[0]
    out = tmp_path / "p.csv"
    assert cli(["predict", str(run), name, "-o", str(out), "--interval", "0.8"]) == 0
    table = pl.read_csv(out)
    assert table.height == 2 * 60
    inside = table.filter(pl.col("low").is_not_null())
    assert (inside["low"] <= inside["value"]).all()
    assert (inside["value"] <= inside["high"]).all()
    capsys.readouterr()
    assert cli(["predict", str(run), name]) == 0
    assert "80 % interval" in capsys.readouterr().out
    assert cli(["score", str(run)]) == 0
    assert "stated and observed uncertainty" in capsys.readouterr().out
