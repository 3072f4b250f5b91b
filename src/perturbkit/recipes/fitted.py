"""A run's model, ready to predict."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

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
        """Predict conditions with every member, with intervals where these are calibrated."""
        predicted = Responses.stack([m.predict(conditions) for m in self.members])
        if self.uncertainty is None:
            return predicted
        return replace(predicted, spread=self.uncertainty.spread(predicted))


def contexts_of(run: Run) -> list[str]:
    """Return the contexts of a run's screen."""
    return list(read_json(run.path / "data.json")["contexts"])


def _opened_as(screen: str | Path | ScreenConfig, unit: str | None) -> Opened:
    """Open a screen; one that states no unit is read in `unit`."""
    given = screen if isinstance(screen, ScreenConfig) else ScreenConfig(source=str(screen))
    try:
        return open_source(given, 0)
    except UnitError:
        if given.unit is not None or unit is None:
            raise
        return open_source(given.replace(unit=unit), 0)
