"""Single cells from a saved run of a model of cells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import atomic_path
from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.models import MODELS
from perturbkit.models.cells import PredictedCells, joined_cells
from perturbkit.recipes.fitted import Fitted
from perturbkit.recipes.verbs import conditions_asked


def predict_cells(
    run: str | Path | Run,
    conditions: Sequence[str] | pl.DataFrame = (),
    *,
    n: int = 100,
    contexts: Sequence[str] | None = None,
    table: Path | None = None,
    out: Path,
    seed: int = 0,
) -> PredictedCells:
    """Draw single cells of any conditions from a saved run of a model of cells.

    Args:
        run: the run or its folder.
        conditions: notations, or a table with the columns of CONDITION_SCHEMA.
        n: cells of each condition, drawn in equal parts from the members of an ensemble.
        contexts: where to predict the notations; by default in every context of the run.
        table: a CSV or Parquet file of further conditions.
        out: the .h5ad file to write; it states its unit, and the refused conditions in `uns`.
        seed: of the draw.

    Raises:
        SchemaError: the run's model answers with means alone, or every condition is refused.
        FileError: no finished run, or `out` is not a .h5ad file.
    """
    if Path(out).suffix != ".h5ad":
        message = f"cannot write cells to {out}; they are written as .h5ad"
        raise FileError(message)
    fitted = Fitted.open(run)
    asked = conditions_asked(fitted.run, conditions, contexts, table)
    cells = _drawn(fitted, asked, n, named_rng(seed, "cells"))
    if all(x is None for x in cells.x):
        message = "every condition was refused, so there is no cell to write; see perturbkit list"
        raise SchemaError(message)
    with atomic_path(out) as temporary:
        cells.adata().write_h5ad(temporary)
    return cells


def _drawn(
    fitted: Fitted, conditions: pl.DataFrame, n: int, rng: np.random.Generator
) -> PredictedCells:
    """Draw cells in equal parts from the members; refuse a model of profiles."""
    name = str(fitted.run.config["model"]["kind"])
    if MODELS[name].level != "cells":
        known = ", ".join(n for n, card in MODELS.items() if card.level == "cells")
        message = f"{name} predicts means, not cells; fit a model of cells: {known}"
        raise SchemaError(message)
    sizes = [len(part) for part in np.array_split(np.arange(n), len(fitted.members))]
    drawn = [
        member.predict_cells(conditions, size, rng)
        for member, size in zip(fitted.members, sizes, strict=True)
        if size
    ]
    return joined_cells(drawn)
