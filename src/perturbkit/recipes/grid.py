"""Predict everything a run knows, in blocks: perturbations x contexts, at bounded memory."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import polars as pl

from perturbkit.core.condition import Condition, condition_table, conditions_of
from perturbkit.core.errors import FileError
from perturbkit.core.files import atomic_path
from perturbkit.core.responses import Responses
from perturbkit.core.run import Run
from perturbkit.recipes.fitted import Fitted

_VALUES_AT_ONCE = 4_000_000
"""predicted values held at a time: 16 MB for each member"""


def grid_conditions(run: Run) -> list[Condition]:
    """Return every perturbation of the screen, as it was dosed, in every context."""
    truth = Responses.load(run.path / "truth.parquet")
    known = conditions_of(truth.conditions)
    contexts = sorted({c.context for c in known})
    distinct = {
        Condition(c.targets, "", c.kind, c.dose_um, c.time_h).key: c
        for c in known if not c.is_control
    }  # fmt: skip
    return [
        Condition(c.targets, context, c.kind, c.dose_um, c.time_h)
        for context in contexts
        for c in distinct.values()
    ]


def write_grid(run: str | Path | Run, out: Path) -> tuple[int, int]:
    """Write the mean prediction of every perturbation in every context as an .h5ad file.

    Rows are conditions, columns readouts; where intervals are calibrated, the layer `scale` holds
    the half width of the 80 % interval. The file is written block by block.

    Returns:
        Conditions and readouts.

    Raises:
        FileError: `out` is not an .h5ad path.
    """
    if out.suffix != ".h5ad":
        message = f"cannot write {out}: the grid is written as .h5ad"
        raise FileError(message)
    fitted = Fitted.open(run)
    conditions = grid_conditions(fitted.run)
    truth = Responses.load(fitted.run.path / "truth.parquet")
    n_readouts = len(truth.readouts)
    size = max(1, _VALUES_AT_ONCE // n_readouts)
    tables = []
    with atomic_path(out) as temporary, h5py.File(temporary, "w") as file:
        shape = (len(conditions), n_readouts)
        x = _matrix(file, "X", shape)
        scale = None
        if fitted.uncertainty is not None:
            _group(file, "layers", "dict")
            scale = _matrix(file, "layers/half_width_80", shape)
        start = 0
        for block in _blocks(conditions, size):
            said = fitted.predict(condition_table(block)).with_readouts(truth.readouts)
            end = start + len(block)
            x[start:end] = said.mean_cg
            if scale is not None and said.spread is not None:
                scale[start:end] = said.spread.half_width(0.8)
            tables.append(said.conditions.drop("n_cells"))
            start = end
        _write_tables(file, pl.concat(tables), list(truth.readouts), truth.unit)
    return shape


def _blocks(conditions: list[Condition], size: int) -> Iterator[list[Condition]]:
    left = iter(conditions)
    while block := list(islice(left, size)):
        yield block


def _matrix(file: h5py.File, name: str, shape: tuple[int, int]) -> h5py.Dataset:
    rows = max(1, min(shape[0], 250_000 // shape[1]))
    data = file.create_dataset(name, shape, np.float32, chunks=(rows, shape[1]), fillvalue=np.nan)
    data.attrs["encoding-type"], data.attrs["encoding-version"] = "array", "0.2.0"
    return data


def _group(file: h5py.File, name: str, kind: str) -> h5py.Group:
    group = file.create_group(name)
    group.attrs["encoding-type"], group.attrs["encoding-version"] = kind, "0.1.0"
    return group


def _write_tables(file: h5py.File, table: pl.DataFrame, readouts: list[str], unit: str) -> None:
    import pandas as pd
    from anndata.io import write_elem

    file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
    obs = pd.DataFrame({c: table[c].to_numpy() for c in table.columns})
    for name in table.columns:
        if table[name].dtype == pl.String:
            obs[name] = obs[name].astype(str).astype("category")
    obs.index = pd.Index([c.key for c in conditions_of(table)], dtype=object)
    write_elem(file, "obs", obs)
    write_elem(file, "var", pd.DataFrame(index=pd.Index(readouts, dtype=object)))
    write_elem(file, "uns", {"unit": unit})
