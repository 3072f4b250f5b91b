"""Control cells moved by the change a closed-form model predicts: what cells must beat."""

from typing import Self

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.condition import condition_keys, condition_table, conditions_of
from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.units import RELATIVE_UNITS
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.base import Base, BaseKind, restore_base
from perturbkit.models.card import ModelCard, State
from perturbkit.models.cells import CellData, PredictedCells
from perturbkit.models.choose_base import ChosenBase
from perturbkit.models.control_cells import ControlCells


class ShiftedControlsConfig(Config):
    """What moves the cells, and how many are kept."""

    base: BaseKind = "auto"
    """the closed-form model of the mean change"""
    n_controls: int = Field(default=500, ge=1)
    """control cells kept of each context at most"""


class ShiftedControls:
    """Control cells of the context plus the predicted change of the mean, not below zero.

    Logs and counts cannot be negative, so a cell's values stop at zero; the mean of the cells is
    therefore a little above `predict`, which is the base's own.
    """

    def __init__(self, base: Base, controls: ControlCells, unit: str) -> None:
        self.base = base
        self.controls = controls
        self.unit = unit

    @classmethod
    def fit(
        cls,
        config: ShiftedControlsConfig,
        cells: CellData,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Fit the base on the profiles and keep control cells.

        Raises:
            SchemaError: every training condition is a control.
        """
        if bool(cells.profiles.is_control.all()):
            message = "every training condition is a control; there is no change to learn"
            raise SchemaError(message)
        base = ChosenBase.choose((config.base,), cells.profiles, rng).plain
        kept = ControlCells.of(cells, config.n_controls, rng, log=True)
        return cls(base, kept, cells.profile_unit)

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict the mean of each condition, as the base does."""
        values, status = self.base.predict(conditions)
        table = conditions.with_columns(status=pl.Series(status.astype(str)))
        return Responses(values[None], table, self.base.readouts, self.unit)  # type: ignore[arg-type]

    def predict_cells(
        self, conditions: pl.DataFrame, n: int, rng: np.random.Generator
    ) -> PredictedCells:
        """Draw control cells of each condition's context and move them."""
        predicted = self.predict(conditions)
        delta_cg = predicted.mean_cg - self._origin(predicted.conditions)
        drawn: list[np.ndarray | None] = []
        status = predicted.conditions["status"].to_list()
        floor = -np.inf if self.unit in RELATIVE_UNITS else 0.0
        for i, context in enumerate(predicted.contexts.tolist()):
            if status[i] == "refused" or context not in self.controls.contexts:
                status[i] = "refused"
                drawn.append(None)
                continue
            x_ng = self.controls.draw(context, n, rng) + delta_cg[i]
            drawn.append(np.maximum(x_ng, floor).astype(np.float32))
        table = predicted.conditions.with_columns(status=pl.Series(status))
        return PredictedCells(table, drawn, self.base.readouts, self.unit)

    def _origin(self, table: pl.DataFrame) -> np.ndarray:
        """Return what the base says of each condition's control, [c, g]."""
        controls = condition_table(c.control() for c in conditions_of(table))
        distinct = self.predict(controls.unique(maintain_order=True))
        return distinct.mean_cg[distinct.find(condition_keys(controls))]

    def state(self) -> State:
        """Return the states of the base and of the control cells."""
        base_arrays, base_about = self.base.state()
        cell_arrays, cell_about = self.controls.state()
        arrays = {f"base.{k}": v for k, v in base_arrays.items()}
        arrays |= {f"cells.{k}": v for k, v in cell_arrays.items()}
        about = {"unit": self.unit, "readouts": list(self.base.readouts), "kind": self.base.kind,
                 "base": base_about, "cells": cell_about}  # fmt: skip
        return arrays, about

    @classmethod
    def restore(cls, config: ShiftedControlsConfig, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, about = state
        base = {k[5:]: v for k, v in arrays.items() if k.startswith("base.")}
        cells = {k[6:]: v for k, v in arrays.items() if k.startswith("cells.")}
        readouts = Vocabulary(about["readouts"], "readout")
        return cls(
            restore_base(about["kind"], (base, about["base"]), readouts),
            ControlCells.restore((cells, about["cells"])), about["unit"],
        )  # fmt: skip


card = ModelCard(
    name="shifted_controls",
    summary="control cells moved by the mean change a closed-form model predicts",
    source="the baseline of cells: 'control cells + mean delta', the delta by the best base",
    config=ShiftedControlsConfig,
    model=ShiftedControls,
    level="cells",
    predicts=frozenset({"combinations", "contexts"}),
)
