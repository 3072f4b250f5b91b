"""The Screen: what was measured. A thin, validated view of one AnnData."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.condition import (
    CONDITION_SCHEMA,
    CONTROL,
    Condition,
    condition_keys,
)
from perturbkit.core.errors import SchemaError
from perturbkit.core.units import RELATIVE_UNITS, Unit, check_unit
from perturbkit.core.vocabulary import Vocabulary

Level = Literal["cells", "profiles"]
OBS_COLUMNS = (*CONDITION_SCHEMA, "batch", "n_cells")
"""What `obs` of every Screen has."""


@dataclass(frozen=True, eq=False)
class Screen:
    """Cells or profiles by readouts, with what was done to each row.

    Build one with `Screen.of`, which fills the optional columns; the constructor only checks.
    """

    adata: ad.AnnData
    """X is rows by readouts; `obs` has OBS_COLUMNS. Treat it as read-only."""
    level: Level
    """`cells`, or `profiles` (pseudobulk, signatures), where NaN means not measured"""
    unit: Unit
    """the unit of X, one of `core.units.UNITS`"""

    def __post_init__(self) -> None:
        if self.level not in get_args(Level):
            message = f"level {self.level!r} is not known; it is cells or profiles"
            raise SchemaError(message)
        missing = [c for c in OBS_COLUMNS if c not in self.adata.obs.columns]
        if missing:
            message = (
                f"obs lacks {', '.join(missing)}; build the Screen with Screen.of, "
                "which fills what is optional"
            )
            raise SchemaError(message)
        if not self.adata.n_obs or not self.adata.n_vars:
            message = f"the data are empty: {self.adata.n_obs} rows x {self.adata.n_vars} readouts"
            raise SchemaError(message)
        _unique(self.adata.obs_names, "row")
        _unique(self.adata.var_names, "readout")
        check_unit(self.adata.X, self.unit, allow_nan=self.level == "profiles")
        if self.unit not in (*RELATIVE_UNITS, "score") and CONTROL not in self.perturbations:
            common = Counter(self.adata.obs["perturbation"]).most_common(3)
            message = (
                f"no row is a control; {self.unit} needs control cells to compare with. "
                f"The most frequent labels are {', '.join(repr(n) for n, _ in common)}: "
                f"name the control label when reading, or call it {CONTROL!r}"
            )
            raise SchemaError(message)

    @classmethod
    def of(
        cls,
        adata: ad.AnnData,
        *,
        level: Level,
        unit: Unit,
        perturbation: str = "perturbation",
        constants: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> "Screen":
        """Build a Screen from an AnnData in anyone's column names; the input is not changed.

        Args:
            adata: rows by readouts; other columns and layers are kept.
            level: `cells` or `profiles`.
            unit: the unit of X.
            perturbation: the `obs` column that holds the notation of each row's perturbation.
            constants: values for whole columns, such as `{"context": "K562", "kind": "ko"}`.
            columns: other columns under their names here, such as `{"batch": "gem_group"}`.

        Raises:
            SchemaError: a named column is missing, or names repeat, or there is no control.
            UnitError: values that cannot be in `unit`.
        """
        _unique(adata.obs_names, "row")
        _unique(adata.var_names, "readout")
        renames = {"perturbation": perturbation, **(columns or {})}
        absent = [c for c in renames.values() if c not in adata.obs.columns]
        if absent:
            message = (
                f"obs has no column {absent[0]!r}; it has "
                f"{', '.join(map(str, adata.obs.columns)) or 'none'}: name one of these"
            )
            raise SchemaError(message)
        _unique(adata.obs_names, "row")
        _unique(adata.var_names, "readout")
        obs = adata.obs.copy()
        for name, foreign in renames.items():
            obs[name] = adata.obs[foreign].to_numpy()
        defaults = {"context": "default", "kind": "unknown", "dose_um": np.nan, "time_h": np.nan,
                    "batch": "0", "n_cells": 1 if level == "cells" else 0}  # fmt: skip
        for name, value in (defaults | dict(constants or {})).items():
            if name not in obs.columns or name in (constants or {}):
                obs[name] = value
        _canonical_labels(obs)
        view = ad.AnnData(
            X=adata.X, obs=obs, var=adata.var, layers=dict(adata.layers), uns=dict(adata.uns)
        )
        return cls(view, level, unit)

    @cached_property
    def readouts(self) -> Vocabulary:
        """The names of the columns of X."""
        return Vocabulary(self.adata.var_names, "readout")

    @cached_property
    def perturbations(self) -> Vocabulary:
        """The canonical perturbations, the control included, in order of first appearance."""
        return Vocabulary(pd.unique(self.adata.obs["perturbation"].astype(str)), "perturbation")

    @cached_property
    def contexts(self) -> Vocabulary:
        """The contexts in order of first appearance."""
        return Vocabulary(pd.unique(self.adata.obs["context"].astype(str)), "context")

    @cached_property
    def targets(self) -> Vocabulary:
        """Every single target of the perturbations, sorted."""
        names = {t for p in self.perturbations for t in Condition.parse(p).targets}
        return Vocabulary(sorted(names), "target")

    @cached_property
    def conditions(self) -> pl.DataFrame:
        """The distinct conditions in order of first appearance, with `n_cells` (or rows)."""
        rows = self.row_table().with_columns(n_cells=pl.Series(self._cells_of_rows()))
        return rows.group_by(*CONDITION_SCHEMA, maintain_order=True).agg(pl.col("n_cells").sum())

    def row_table(self) -> pl.DataFrame:
        """Return the condition columns of every row."""
        obs = self.adata.obs
        columns = {n: _series(obs[n], t) for n, t in CONDITION_SCHEMA.items()}
        return pl.DataFrame(columns).with_columns(pl.col("dose_um", "time_h").fill_nan(None))

    def row_codes(self) -> np.ndarray:
        """Return for each row the position of its condition in `conditions`."""
        coded = self.conditions.with_row_index("code").drop("n_cells")
        joined = self.row_table().join(
            coded, on=list(CONDITION_SCHEMA), how="left", nulls_equal=True, maintain_order="left"
        )
        return joined["code"].to_numpy().astype(np.int64)

    def _cells_of_rows(self) -> np.ndarray:
        if self.level == "cells":
            return np.ones(self.adata.n_obs, np.int64)
        return self.adata.obs["n_cells"].to_numpy().astype(np.int64)

    def describe(self) -> dict[str, Any]:
        """Return what the report and `repr` say of the screen, as plain values."""
        return {
            "level": self.level,
            "unit": self.unit,
            "n_rows": self.adata.n_obs,
            "n_readouts": self.adata.n_vars,
            "n_perturbations": sum(p != CONTROL for p in self.perturbations),
            "contexts": list(self.contexts),
            "kinds": sorted({str(k) for k in self.adata.obs["kind"].unique()}),
            "n_control_rows": int((self.adata.obs["perturbation"] == CONTROL).sum()),
        }

    def __repr__(self) -> str:
        about = self.describe()
        return (
            f"Screen({about['n_rows']:,} {self.level} x {about['n_readouts']:,} readouts in "
            f"{self.unit}; {about['n_perturbations']:,} perturbations, "
            f"{len(about['contexts'])} contexts)"
        )


def _unique(names: pd.Index, what: str) -> None:
    if not names.is_unique:
        twice = names[names.duplicated()].unique()
        message = (
            f"{len(twice)} {what} name(s) occur more than once, for example "
            f"{', '.join(map(str, twice[:3]))}; names must be unique: make them so before reading"
        )
        raise SchemaError(message)


def _series(column: pd.Series, dtype: Any) -> pl.Series:
    if dtype == pl.String:
        return pl.Series(column.astype(str).to_numpy(dtype=object), dtype=pl.String)
    return pl.Series(pd.to_numeric(column, errors="coerce").to_numpy(dtype=float), dtype=dtype)


def _canonical_labels(obs: pd.DataFrame) -> None:
    """Rewrite the perturbation column in canonical notation, doses and times to their columns."""
    labels = obs["perturbation"]
    if labels.isna().any():
        message = (
            f"{int(labels.isna().sum()):,} rows have no perturbation label; "
            f"label them, or call them {CONTROL!r} if nothing was perturbed"
        )
        raise SchemaError(message)
    for name in ("dose_um", "time_h"):
        obs[name] = pd.to_numeric(obs[name], errors="coerce").astype(float)
    parsed = {label: Condition.parse(str(label)) for label in labels.unique()}
    for label, condition in parsed.items():
        rows = (labels == label).to_numpy()
        for name in ("dose_um", "time_h"):
            if getattr(condition, name) is not None:
                obs.loc[rows, name] = getattr(condition, name)
    canonical = labels.map({k: c.perturbation for k, c in parsed.items()}).astype(str)
    obs["perturbation"] = pd.Categorical(canonical)
    for name in ("context", "kind", "batch"):
        obs[name] = pd.Categorical(obs[name].astype(str))
    controls = (obs["perturbation"] == CONTROL).to_numpy()
    # a vehicle has no dose: one control per context is what every comparison starts from
    obs.loc[controls, "dose_um"] = np.nan
    obs.loc[controls, "time_h"] = np.nan


def screen_keys(screen: Screen) -> list[str]:
    """Return the keys of a screen's conditions, in their order."""
    return condition_keys(screen.conditions)
