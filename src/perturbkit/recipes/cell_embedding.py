"""Embed cells: fit a cell embedding, write vectors beside the cells, look up the nearest."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.config import Config, set_value
from perturbkit.core.errors import FileError, SchemaError, unknown_name
from perturbkit.core.features import Features
from perturbkit.core.files import atomic_path, existing, write_json
from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.core.screen import Screen
from perturbkit.data.screens import open_screen
from perturbkit.data.store import CellStore, store_of
from perturbkit.genes.embed import embed
from perturbkit.graphs.configured import configured_graphs
from perturbkit.models.state_embedding import StateEmbedding, StateEmbeddingConfig, card
from perturbkit.recipes.experiment import ScreenConfig
from perturbkit.train.config import TrainConfig
from perturbkit.train.sentences import Knowledge, fit_embedding, logged
from perturbkit.train.store import load_members, save_members

KEY = "X_state"
"""where in `obsm` the vectors are"""
PROTEINS = "embeddings/protein_embeddings.pt"
"""where STATE's users keep vectors of genes, in `folder`"""
_LEAST_KNOWN = 0.5
"""a screen is refused if the model knows a smaller share of its readouts"""


class EmbeddingStudy(Config):
    """Every setting of a cell embedding."""

    seed: int = Field(default=0, ge=0)
    """seed of everything that is drawn"""
    screen: ScreenConfig = ScreenConfig()
    features: str = "auto"
    """vectors of genes: the path of a table (.pt, .safetensors, .parquet, .npy, .h5), `none`, or
    `auto`: `embeddings/protein_embeddings.pt` of `folder` where it is there"""
    graph_config: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """networks, `{"string": {"type": "string", "args": {"confidence": 0.7}}}`"""
    folder: str = ""
    """holds `graphs/` and `embeddings/`; by default networks are those of PERTURBKIT_DATA"""
    model: StateEmbeddingConfig = StateEmbeddingConfig()
    train: TrainConfig = TrainConfig.parse(dict(card.train))


def fit_cells(
    screen: str | Path | None,
    *,
    out: str | Path,
    settings: Iterable[str] = (),
    resume: bool = False,
    force: bool = False,
    watch: Callable[[str, int, int], None] | None = None,
) -> Run:
    """Train a cell embedding on a screen of cells, or on a cell store, and save it as a run.

    Args:
        screen: a screen's name or file, or the folder of a cell store.
        out: the run's folder.
        settings: `path.to.key=value` assignments over the defaults of `EmbeddingStudy`.
        resume: go on where a run with equal settings stopped.
        force: replace an old run.
        watch: told of the progress.

    Raises:
        PerturbkitError: unknown names, wrong settings, missing files or genes; nothing is left
            behind unless training had begun.
    """
    values: dict[str, Any] = {} if screen is None else {"screen": {"source": str(screen)}}
    for assignment in settings:
        set_value(values, assignment)
    study = EmbeddingStudy.parse(values | {"train": dict(card.train) | values.get("train", {})})
    cells = _cells(study)
    features = _features(study)
    place = str(Path(study.folder) / "graphs") if study.folder else ""
    knowledge = Knowledge(features, configured_graphs(study.graph_config, place, features))
    run = Run.create(out, study.plain(), resume=resume, force=force)
    with run.lock():
        if run.is_finished:
            return run
        write_json(run.path / "data.json", {"n_cells": cells.n_cells, "unit": cells.unit,
                                            "n_readouts": len(cells.readouts)})  # fmt: skip
        told = None if watch is None else lambda done, total: watch("cell embedding", done, total)
        model: Any = fit_embedding(
            cells, study.model, study.train, study.seed, knowledge=knowledge, run=run, watch=told
        )
        save_members(run, card, study.model, [model])
    return run


def _cells(study: EmbeddingStudy) -> CellStore:
    source = study.screen
    if Path(source.source).is_dir() and (Path(source.source) / "manifest.json").exists():
        return CellStore.open(source.source)
    return store_of(open_screen(source.source, unit=source.unit, seed=study.seed, **source.options))


def _features(study: EmbeddingStudy) -> Features | None:
    if study.features == "none":
        return None
    if study.features != "auto":
        return embed("table", Path(study.features), named_rng(study.seed, "features"))
    place = Path(study.folder) / PROTEINS
    if study.folder and place.exists():
        return embed("table", place, named_rng(study.seed, "features"))
    return None


def open_embedding(run: str | Path | Run) -> StateEmbedding:
    """Read the model of a finished run of `fit_cells`.

    Raises:
        FileError: no finished run, or one of another kind.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    if "graph_config" not in opened.config:
        message = f"{opened.path} holds no cell embedding; make one with `perturbkit cells fit`"
        raise FileError(message)
    return load_members(opened, card)[0]


def embed_screen(
    run: str | Path | Run, screen: Screen, *, at_once: int = 4096
) -> tuple[np.ndarray, str]:
    """Return a vector for each cell of a screen, float32 [n, d], and how many genes are known.

    Genes are aligned by name; those the model does not know are left out of the sentences.

    Raises:
        SchemaError: the model knows fewer than half of the readouts.
        UnitError: the cells are neither counts nor log1p_cp10k.
    """
    model, cells = open_embedding(run), store_of(screen)
    known, columns = model.columns(cells.readouts)
    if len(known) < _LEAST_KNOWN * len(cells.readouts):
        absent = [n for n in cells.readouts if n not in model.tokens.names]
        message = (
            f"the model knows {len(known):,} of {len(cells.readouts):,} readouts, not for example "
            f"{', '.join(absent[:4])}; map gene names to one kind first"
        )
        raise SchemaError(message)
    z = np.full((screen.adata.n_obs, model.config.output_dim), np.nan, np.float32)
    for low in range(0, cells.n_cells, at_once):
        rows = np.arange(low, min(low + at_once, cells.n_cells))
        x = logged(cells, rows)[:, known.numpy()]
        z[cells.arrays["source"][rows]] = model.embed(x, columns)
    return z, f"{len(known):,} of {len(cells.readouts):,} readouts are known to the model"


def embed_file(
    run: str | Path, source: str | Path, out: str | Path, *, unit: str | None = None,
    as_screen: bool = False,
) -> str:  # fmt: skip
    """Write a screen with its cells' vectors in `obsm`, and say how many genes were known.

    Args:
        run: the run of a cell embedding.
        source: a screen's name or file.
        out: the .h5ad file to write.
        unit: unit of a file that does not state its own.
        as_screen: write the vectors themselves as the readouts, less the mean control cell of
            each context, so that models of cells can be fitted in this space.

    Raises:
        FileError: `out` is not a .h5ad file.
    """
    if Path(out).suffix != ".h5ad":
        message = f"cannot write {out}: vectors of cells are written as .h5ad"
        raise FileError(message)
    screen = open_screen(source, unit=unit)
    z, coverage = embed_screen(run, screen)
    adata = ad.AnnData(screen.adata.X, obs=screen.adata.obs, var=screen.adata.var)
    if as_screen:
        adata = _vectors_as_readouts(screen, z)
    else:
        adata.obsm[KEY] = z
    about = {"level": "cells", "unit": "zscore" if as_screen else screen.unit, "format": 1}
    adata.uns["perturbkit"] = about
    with atomic_path(out) as temporary:
        adata.write_h5ad(temporary)
    return coverage


def _vectors_as_readouts(screen: Screen, z: np.ndarray) -> ad.AnnData:
    obs = screen.adata.obs
    kept = ~np.isnan(z).any(1)
    control = (obs["perturbation"] == "control").to_numpy() & kept
    shifted = z.copy()
    for context in screen.contexts:
        of = (obs["context"] == context).to_numpy()
        shifted[of] -= z[of & control].mean(0)
    names = [f"state_{i}" for i in range(z.shape[1])]
    adata = ad.AnnData(shifted[kept] * z.shape[1] ** 0.5, obs=obs[kept])
    adata.var_names = names
    return adata


def nearest_cells(
    reference: str | Path, query: str | Path, k: int = 10, *, label: str = "perturbation"
) -> pl.DataFrame:
    """Return the nearest embedded cells of each query cell, by cosine, and what they are.

    Args:
        reference: an .h5ad file from `embed_file`.
        query: another; cells of the same name in the same file are not their own neighbour.
        k: neighbours of each cell.
        label: column of the reference's `obs` to report and vote on.

    Returns:
        A row for each query cell: `cell`, `neighbours`, `similarity` of the nearest, `label` most
        frequent among them, and its `share`.

    Raises:
        FileError: a file is missing or has no vectors.
        UnknownNameError: no such column.
    """
    known, asked = _embedded(reference), _embedded(query)
    if label not in known.obs.columns:
        raise unknown_name("column of obs", label, known.obs.columns)
    labels = known.obs[label].astype(str).to_numpy()
    z, names = _unit(known.obsm[KEY]), np.asarray(known.obs_names, str)
    same = Path(reference).resolve() == Path(query).resolve()
    rows = []
    for low in range(0, asked.n_obs, 1024):
        similarity = _unit(asked.obsm[KEY][low : low + 1024]) @ z.T
        if same:
            i = np.arange(len(similarity))
            similarity[i, low + i] = -np.inf
        top = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        for i, near in enumerate(top):
            values, counts = np.unique(labels[near], return_counts=True)
            rows.append((str(asked.obs_names[low + i]), names[near].tolist(),
                         float(similarity[i, near[0]]), str(values[counts.argmax()]),
                         float(counts.max() / len(near))))  # fmt: skip
    schema = ["cell", "neighbours", "similarity", "label", "share"]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _embedded(path: str | Path) -> ad.AnnData:
    adata = ad.read_h5ad(existing(path, "file of embedded cells"))
    if KEY not in adata.obsm:
        message = f"{path} has no obsm[{KEY!r}]; write it with `perturbkit cells embed`"
        raise FileError(message)
    return adata


def _unit(z: Any) -> np.ndarray:
    z = np.nan_to_num(np.asarray(z, np.float32))  # a cell without a count is near nothing
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9)
