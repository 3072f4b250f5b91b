"""A run's model, ready to predict."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perturbkit.core.condition import Condition, condition_table, conditions_of
from perturbkit.core.errors import SchemaError, UnitError
from perturbkit.core.files import read_json
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.models.from_file import model_card
from perturbkit.recipes.experiment import ScreenConfig
from perturbkit.recipes.opening import Opened, open_source
from perturbkit.train.store import load_members, load_uncertainty
from perturbkit.train.uncertainty import Uncertainty

_NONSENSE = "a name that no screen has"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A run's model, ready to predict."""

    run: Run
    members: list[Any]
    uncertainty: Uncertainty | None = None
    """how far its predictions may be off; None without conditions to calibrate it on"""
    new_contexts: tuple[str, ...] = ()
    """contexts that the run has not seen and that `with_controls` described"""

    @classmethod
    def open(cls, run: str | Path | Run) -> "Fitted":
        """Read the model of a finished run."""
        opened = run if isinstance(run, Run) else Run.open(run)
        opened.require_finished()
        kind = str(opened.config["model"]["kind"])
        return cls(opened, load_members(opened, model_card(kind)), load_uncertainty(opened))

    def with_controls(self, screen: str | Path | ScreenConfig) -> "Fitted":
        """Return the model that also answers contexts described by the controls of a screen.

        A file that does not state its unit is read in that of the run's own screen.

        Raises:
            SchemaError: the model takes no control profiles, or the screen lacks readouts.
        """
        kind = self.run.config["model"]["kind"]
        if not all(hasattr(m, "with_controls") for m in self.members):
            message = f"{kind} takes no control profiles; fit lpm with model.context_from=control"
            raise SchemaError(message)
        opened = _opened_as(screen, self.run.config["screen"].get("unit"))
        measured = opened.truth(named_rng(0, "halves"))
        described = sorted(set(measured.contexts[measured.is_control].tolist()))
        return replace(
            self,
            members=[m.with_controls(measured) for m in self.members],
            new_contexts=tuple(c for c in described if c not in contexts_of(self.run)),
        )

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict conditions with every member, with intervals where these are calibrated.

        Names that neither the screen nor the model's features know are refused, most likely
        misspelt, even where the model would answer any name with a mean.
        """
        predicted = Responses.stack([m.predict(conditions) for m in self.members])
        predicted = _refused(predicted, self._unheard(conditions_of(predicted.conditions)))
        if self.uncertainty is None:
            return predicted
        return replace(predicted, spread=self.uncertainty.spread(predicted))

    def _unheard(self, conditions: list[Condition]) -> np.ndarray:
        """Say which conditions hold a name that nothing is known of, bool [c]."""
        targets, contexts = names_of(self.run)
        places = {*contexts, *self.new_contexts}
        foreign = np.array([not set(targets).issuperset(c.targets) for c in conditions], bool)
        if foreign.any() and not self._answers_any_name(contexts[0]):
            foreign[:] = False  # the model tells names apart by itself
        return foreign | np.array([c.context not in places for c in conditions], bool)

    def _answers_any_name(self, context: str) -> bool:
        nonsense = condition_table([Condition.parse(_NONSENSE, context=context)])
        said = [m.predict(nonsense).conditions["status"][0] for m in self.members]
        return "refused" not in said


def _refused(predicted: Responses, rows: np.ndarray) -> Responses:
    """Return the predictions with these rows refused."""
    if not rows.any():
        return predicted
    values = predicted.values.copy()
    values[:, rows] = np.nan
    refused = pl.Series("status", np.where(rows, "refused", predicted.conditions["status"]))
    return replace(predicted, values=values, conditions=predicted.conditions.with_columns(refused))


def contexts_of(run: Run) -> list[str]:
    """Return the contexts of a run's screen."""
    return list(read_json(run.path / "data.json")["contexts"])


def names_of(run: Run) -> tuple[list[str], list[str]]:
    """Return the targets and the contexts that a run's screen measured, held out or not."""
    table = pl.read_parquet(run.path / "truth.parquet", columns=["perturbation", "context"])
    return sorted({t for c in conditions_of(table) for t in c.targets}), contexts_of(run)


def _opened_as(screen: str | Path | ScreenConfig, unit: str | None) -> Opened:
    """Open a screen; one that states no unit is read in `unit`."""
    given = screen if isinstance(screen, ScreenConfig) else ScreenConfig(source=str(screen))
    try:
        return open_source(given, 0)
    except UnitError:
        if given.unit is not None or unit is None:
            raise
        return open_source(given.replace(unit=unit), 0)
