"""The closed-form model under a network: the network learns only what this one misses."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from perturbkit.core.condition import CONTROL, conditions_of
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.additive import card as additive
from perturbkit.models.bilinear_ridge import card as bilinear_ridge
from perturbkit.models.card import FittedModel, ModelCard, State
from perturbkit.models.context_mean import card as context_mean
from perturbkit.models.cross_context_ridge import card as cross_context_ridge
from perturbkit.models.cross_context_stack import card as cross_context_stack
from perturbkit.models.mean_delta import card as mean_delta
from perturbkit.models.relative_effects import card as relative_effects
from perturbkit.models.slopes import Slopes

BASES: dict[str, ModelCard] = {
    card.name: card
    for card in (
        context_mean,
        mean_delta,
        cross_context_ridge,
        cross_context_stack,
        additive,
        bilinear_ridge,
        relative_effects,
    )
}
_N_FOLDS = 5
BaseKind = Literal[
    "auto", "none", "context_mean", "mean_delta", "cross_context_ridge",
    "cross_context_stack", "additive", "bilinear_ridge", "relative_effects",
]  # fmt: skip
"""`auto` takes the one whose cross-fitted error on the training set is the smallest"""


@dataclass(frozen=True, eq=False)
class Base:
    """A fitted closed-form model, or none, which predicts zero everywhere."""

    kind: str
    readouts: Vocabulary
    model: FittedModel | None
    slopes: Slopes | None = None
    """how far the predictions of each readout are trusted; None: as they are"""
    for_combinations: "Base | None" = None
    """another base for combinations, where these are better predicted by one"""
    fallback: FittedModel | None = None
    """the context's mean, for what the model refuses and the network can still say something of"""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Its name, and that of the base for combinations where there is another."""
        other = self.for_combinations
        return (self.kind,) if other is None else (self.kind, other.kind)

    def predict(self, conditions: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions [c, g] and a status for each condition."""
        if self.model is None:
            values = np.zeros((conditions.height, len(self.readouts)), np.float32)
            return values, np.full(conditions.height, "seen", dtype="<U9")
        values, status = _answer(self.model, conditions)
        refused = np.flatnonzero(status == "refused")
        if self.fallback is not None and refused.size:
            values[refused], status[refused] = _answer(self.fallback, conditions[refused])
        if self.for_combinations is not None:
            rows = np.flatnonzero(are_combinations(conditions))
            values[rows], status[rows] = self.for_combinations.predict(conditions[rows])
        if self.slopes is not None:
            perturbed = (conditions["perturbation"] != CONTROL).to_numpy() & (status != "refused")
            contexts = conditions["context"].to_numpy().astype(str)
            values = self.slopes.apply(values, contexts, perturbed)
        return values, status

    def crossfitted_residual(self, train: Responses, rng: np.random.Generator) -> np.ndarray:
        """Return measured minus predicted for conditions this base was fitted on, [c, g].

        Each fifth of the perturbed conditions is predicted by a base fitted on the rest, so the
        errors are those of conditions never seen. Controls keep the error of the whole fit.
        """
        residual = train.mean_cg - self.predict(train.conditions)[0]
        if self.model is None:
            return residual
        order = rng.permutation(np.flatnonzero(~train.is_control))
        for fold in np.array_split(order, min(_N_FOLDS, len(order))):
            rest = np.setdiff1d(np.arange(train.conditions.height), fold)
            if train.select(rest).is_control.all():
                continue  # a single perturbed condition: nothing to fit on without it
            other = fit_base(self.kind, train.select(rest), rng)
            predicted, status = other.predict(train.conditions[fold])
            answered = status != "refused"
            residual[fold[answered]] = (train.mean_cg[fold] - predicted)[answered]
        return residual

    def state(self) -> State:
        """Return the states of the closed-form model and of its fallback."""
        arrays, abouts = {}, {}
        for name, model in (("model", self.model), ("fallback", self.fallback)):
            if model is not None:
                own, abouts[name] = model.state()
                arrays |= {f"{name}.{k}": v for k, v in own.items()}
        if self.for_combinations is not None:
            own, about = self.for_combinations.state()
            abouts["combinations"] = {"kind": self.for_combinations.kind, "about": about}
            arrays |= {f"combinations.{k}": v for k, v in own.items()}
        if self.slopes is not None:
            own, abouts["slopes"] = self.slopes.state()
            arrays |= {f"slopes.{k}": v for k, v in own.items()}
        return arrays, abouts


def are_combinations(conditions: pl.DataFrame) -> np.ndarray:
    """Say which conditions have more than one target."""
    return np.array([len(c.targets) > 1 for c in conditions_of(conditions)], bool)


def fit_base(kind: str, train: Responses, rng: np.random.Generator) -> Base:
    """Fit the closed-form model named `kind`, by its default settings, or none."""
    if kind == "none":
        return Base(kind, train.readouts, None)
    fallback = None if kind == "context_mean" else _fit(context_mean, train, rng)
    return Base(kind, train.readouts, _fit(BASES[kind], train, rng), fallback=fallback)


def _fit(card: ModelCard, train: Responses, rng: np.random.Generator) -> FittedModel:
    return card.model.fit(card.config(), train, None, rng)


def _answer(model: FittedModel, conditions: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    predicted = model.predict(conditions)
    return predicted.mean_cg.copy(), predicted.conditions["status"].to_numpy().astype("<U9")


def restore_base(kind: str, state: State, readouts: Vocabulary) -> Base:
    """Rebuild a base from its state."""
    if kind == "none":
        return Base(kind, readouts, None)
    models = {}
    for name, card in (("model", BASES[kind]), ("fallback", context_mean)):
        if name in state[1]:
            arrays = {
                k.removeprefix(f"{name}."): v
                for k, v in state[0].items()
                if k.startswith(f"{name}.")
            }
            model: Any = card.model
            models[name] = model.restore(card.config(), (arrays, state[1][name]))
    slopes = None
    if "slopes" in state[1]:
        arrays = {k.removeprefix("slopes."): v for k, v in state[0].items()}
        slopes = Slopes.restore((arrays, state[1]["slopes"]))
    other = None
    if "combinations" in state[1]:
        arrays = {
            k.removeprefix("combinations."): v
            for k, v in state[0].items() if k.startswith("combinations.")
        }  # fmt: skip
        about = state[1]["combinations"]
        other = restore_base(about["kind"], (arrays, about["about"]), readouts)
    return Base(kind, readouts, models["model"], slopes, other, models.get("fallback"))
