"""What a study knows of its targets besides the training profiles: features by a short name."""

import os
from pathlib import Path

import numpy as np

from perturbkit.core.errors import ConfigError
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.data.splits import Split
from perturbkit.data.store import CellStore
from perturbkit.genes import EMBEDDINGS
from perturbkit.genes.embed import embed
from perturbkit.graphs.read import read_graph
from perturbkit.models.target_features import loadings_of
from perturbkit.train.cells import cell_data
from perturbkit.train.profiles import FitData


def features_for(what: str, train: Responses, rng: np.random.Generator) -> Features | None:
    """Return the features that a study's `features` setting names.

    Args:
        what: `auto` (the loadings of each gene's own readout), `none`, `EMBEDDING:NETWORK` such as
            `spectral:string`, with the network's files in the folder `graphs` of PERTURBKIT_DATA or
            among the downloads, or `table:PATH` for vectors from a file.
        train: the training conditions.
        rng: source of randomness.

    Raises:
        ConfigError: the setting cannot be read.
        UnknownNameError: no such embedding or network.
        FileError: files are missing or damaged.
    """
    if what == "none":
        return None
    if what == "auto":
        return loadings_of(train, rng)
    embedding, colon, source = what.partition(":")
    if not (embedding and colon and source):
        message = (
            f"features: {what!r} is not auto, none, EMBEDDING:NETWORK or table:PATH; "
            "write for example spectral:string"
        )
        raise ConfigError(message)
    _ = EMBEDDINGS[embedding]  # before a network is read, or even downloaded
    if embedding == "table":
        return embed(embedding, Path(source), rng)
    data = os.environ.get("PERTURBKIT_DATA")
    place = Path(data) / "graphs" if data and (Path(data) / "graphs").is_dir() else None
    return embed(embedding, read_graph(source, place), rng)


def fit_data(
    truth: Responses, split: Split, what: str, rng: np.random.Generator,
    cells: CellStore | None = None,
) -> FitData:  # fmt: skip
    """Return what models are fitted on: training and validation conditions, features, cells.

    Args:
        truth: every measured condition.
        split: the fold of each.
        what: the study's `features` setting; see `features_for`.
        rng: source of randomness of the features and of the choice of validation cells.
        cells: the single cells, where models of cells are to be fitted.
    """
    train = truth.select(split.rows(truth, "train"))
    val_rows = split.rows(truth, "val")
    features = features_for(what, train, rng)
    val = truth.select(val_rows) if len(val_rows) else None
    single = None
    if cells is not None:
        single = cell_data(cells, train, () if val is None else val.keys, rng)
    return FitData(train, val, features, single)
