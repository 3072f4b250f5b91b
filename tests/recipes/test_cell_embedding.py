"""Cells are embedded end to end: fit, embed, look up the nearest, and refuse with a reason."""

import anndata as ad
import numpy as np
import pytest
import torch

from perturbkit.cli.main import run
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.data.screens import open_screen
from perturbkit.data.store import store_of
from perturbkit.models.state_embedding import StateEmbeddingConfig
from perturbkit.recipes.cell_embedding import embed_screen, fit_cells, nearest_cells
from perturbkit.train.config import TrainConfig
from perturbkit.train.sentences import SentenceSource, fit_embedding

SMALL = [
    "model.d_model=16", "model.nhead=2", "model.d_hid=16", "model.nlayers=1",
    "model.output_dim=8", "model.sentence_length=30", "model.n_asked=10", "train.n_epochs=1",
    "screen.options={preset = 'tiny'}",
]  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit_cells("simulated", out=tmp_path_factory.mktemp("run") / "cells", settings=SMALL)


def test_the_command_line_fits_embeds_and_finds(tmp_path, fitted, capsys) -> None:
    screen = open_screen("simulated", preset="tiny")
    screen.adata.uns["perturbkit"] = {"level": "cells", "unit": "counts", "format": 1}
    file, out = tmp_path / "tiny.h5ad", tmp_path / "embedded.h5ad"
    screen.adata.write_h5ad(file)
    assert run(["cells", "embed", str(fitted.path), str(file), "-o", str(out)]) == 0
    assert "60 of 60 readouts" in capsys.readouterr().out
    embedded = ad.read_h5ad(out)
    z = embedded.obsm["X_state"]
    assert z.shape == (screen.adata.n_obs, 8)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-3)
    assert run(["cells", "near", str(out), str(out), "-k", "3", "--label", "context"]) == 0
    table = nearest_cells(out, out, 3, label="context")
    own = embedded.obs["context"].astype(str).to_numpy()
    assert (table["label"].to_numpy() == own).mean() > 0.6
    assert all(c not in near for c, near in zip(table["cell"], table["neighbours"], strict=True))


def test_vectors_are_a_screen_that_models_of_cells_take(tmp_path, fitted) -> None:
    screen = open_screen("simulated", preset="tiny")
    screen.adata.uns["perturbkit"] = {"level": "cells", "unit": "counts", "format": 1}
    file, out = tmp_path / "tiny.h5ad", tmp_path / "vectors.h5ad"
    screen.adata.write_h5ad(file)
    assert run(["cells", "embed", str(fitted.path), str(file), "-o", str(out), "--as-screen"]) == 0
    vectors = open_screen(out)
    assert vectors.unit == "zscore"
    small = ["d_model=8", "n_heads=2", "d_hid=8", "n_layers=1", "rank=4"]
    settings = [x for s in small for x in ("--set", f"model.{s}")]
    arguments = ["fit", "state_transition", "--screen", str(out), "-o", str(tmp_path / "run"),
                 "--set", "train.n_epochs=1", "--set", "features=none", "-q"]  # fmt: skip
    assert run([*arguments, *settings]) == 0


def test_mistakes_are_refused_in_words(tmp_path, fitted) -> None:
    foreign = open_screen("simulated", preset="tiny")
    foreign.adata.var_names = [f"ENSG{i}" for i in range(60)]
    with pytest.raises(SchemaError, match="0 of 60 readouts"):
        embed_screen(fitted, foreign)
    with pytest.raises(FileError, match="no cell embedding"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other/config.json").write_text('{"format": 1}')
        embed_screen(tmp_path / "other", foreign)
    with pytest.raises(FileError, match=r"no embedding file|no file"):
        fit_cells("simulated", out=tmp_path / "new",
                  settings=[*SMALL, f"features={tmp_path / 'absent.pt'}"])  # fmt: skip
    assert not (tmp_path / "new").exists()


def test_the_folder_of_states_users_is_read(tmp_path) -> None:
    names = [f"G{i}" for i in range(60)]
    genes = open_screen("simulated", preset="tiny").readouts
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "graphs/string").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    table = {g: torch.randn(24, generator=generator) for g in genes}
    torch.save(table, tmp_path / "embeddings/protein_embeddings.pt")
    lines = "\n".join(f"{a}\t{b}\t0.9" for a, b in zip(genes, list(genes)[1:], strict=False))
    (tmp_path / "graphs/edges.tsv").write_text(f"source\ttarget\tweight\n{lines}\n")
    config = (
        f"graph_config={{own = {{type = 'edge_list', args = {{path = "
        f"'{tmp_path / 'graphs/edges.tsv'}'}}}}, "
        "scgpt_derived = {type = 'scgpt_derived', args = {mode = 'top_5'}}}"
    )
    done = fit_cells("simulated", out=tmp_path / "run",
                     settings=[*SMALL, config, f"folder={tmp_path}"])  # fmt: skip
    arrays = done.path / "model.safetensors"
    assert arrays.exists()
    from perturbkit.recipes.cell_embedding import open_embedding

    model = open_embedding(done)
    assert model.tokens.features.shape[1] == 24
    assert len(model.tokens.graph.relations) == 2
    assert len(names) == len(model.tokens.names)


def test_batches_follow_from_the_seed_and_hide_what_they_ask(rng) -> None:
    cells = store_of(open_screen("simulated", preset="tiny"))
    config = StateEmbeddingConfig(sentence_length=20, n_asked=10)
    source = SentenceSource(cells, np.arange(200), config, 32, seed=3)
    first, again = (next(source.epoch(1, 2, torch.device("cpu"))) for _ in range(2))
    torch.testing.assert_close(first.genes, again.genes)
    assert not torch.isin(first.genes, first.asked).any()
    other = next(source.epoch(2, 2, torch.device("cpu")))
    assert not torch.equal(first.asked, other.asked)


def test_hidden_genes_are_predicted_better_than_by_their_mean() -> None:
    cells = store_of(open_screen("simulated", preset="tiny", n_cells=60))
    config = StateEmbeddingConfig(
        d_model=32, nhead=2, d_hid=32, nlayers=1, output_dim=16, sentence_length=48, n_asked=15
    )
    schedule = TrainConfig(n_epochs=8, batch_cells=64, learning_rate=4e-3, precision="fp32")
    model = fit_embedding(cells, config, schedule, 0)
    source = SentenceSource(cells, np.arange(cells.n_cells), config, 64, 9)
    held = np.random.default_rng(5).permutation(cells.n_cells)[:400]
    batch = source.batch(held, np.random.default_rng(1), torch.device("cpu"))
    with torch.no_grad():
        predicted, _ = model.predict_asked(batch)
    mean = model.offset[batch.asked]
    ours, theirs = ((p - batch.truth).square().mean() for p in (predicted, mean))
    assert float(ours) < 0.85 * float(theirs)
