"""Closed-form changes in proportion to expression: what carries over to contexts and targets."""

from collections.abc import Mapping
from typing import Self

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.deltas import Asked, Effects, Frame
from perturbkit.models.reach import Reach

_N_FOLDS = 5
_CONTEXT_ROWS = 8.0
"""a context's own mean counts as fully as that of all after several times so many rows"""


class RelativeEffectsConfig(Config):
    """How strongly effects are drawn to what is shared."""

    shrinkages: tuple[float, ...] = Field(default=(0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
                                          min_length=1)  # fmt: skip
    """candidates: contexts' worth of evidence for no deviation; cross-validation chooses"""
    ridge: float = Field(default=0.01, gt=0)
    """penalty of the path strengths, as a share of the mean square of their features"""


class RelativeEffects:
    """delta = h (shared mean + context's mean + perturbation's part), h how much can change.

    h = 1 - exp(-m), with m the control profile, is how far log1p of an expected count moves with
    the log of the count: a gene that a context does not express cannot fall there. All means are
    least squares under that law, shrunken. The perturbation's part is its own, seen in any
    context, drawn towards what its targets reach: their own readout, and along networks.
    """

    def __init__(self, frame: Frame, reach: Reach, parts: Mapping[str, np.ndarray]) -> None:
        self.frame, self.reach = frame, reach
        self.shared_g, self.context_kg = parts["shared_g"], parts["context_kg"]
        self.own_pg, self.strength_f = parts["own_pg"], parts["strength_f"]

    @classmethod
    def fit(
        cls,
        config: RelativeEffectsConfig,
        train: Responses,
        features: Features | None,
        rng: np.random.Generator,
    ) -> Self:
        """Fit without networks: of a target never seen, its own readout is known."""
        del features, rng
        return cls.with_graphs(config, train, None)

    @classmethod
    def with_graphs(
        cls, config: RelativeEffectsConfig, train: Responses, graphs: Mapping[str, Graph] | None
    ) -> Self:
        """Fit on measured conditions; networks say what the targets reach."""
        effects = Effects.of(train)
        frame, reach = effects.frame, Reach.of(train.readouts, graphs)
        parts = {
            "shared_g": np.zeros(len(frame.readouts), np.float32),
            "context_kg": np.zeros((len(frame.contexts), len(frame.readouts)), np.float32),
            "own_pg": np.zeros((len(frame.perturbations), len(frame.readouts)), np.float32),
            "strength_f": np.zeros(len(reach.kinds)),
        }
        model = cls(frame, reach, parts)
        h_rg = np.where(effects.is_measured, model._h(effects.context_r), 0)
        rest = np.where(effects.is_measured, effects.delta_rg, 0)
        unit = np.square(h_rg).sum() / max(1, np.count_nonzero(effects.is_measured))
        one = np.zeros(len(rest), np.int64)
        model.shared_g = _means(rest, h_rg, one, 1, unit)[0]
        rest = rest - h_rg * model.shared_g
        model.context_kg = _means(
            rest, h_rg, effects.context_r, len(frame.contexts), _CONTEXT_ROWS * unit
        )
        rest = rest - h_rg * model.context_kg[effects.context_r]
        targets_r = [effects.targets_p[p] for p in effects.perturbation_r]
        reached = reach.of_targets(targets_r, model._activities(targets_r, effects.context_r))
        model.strength_f = _strengths(reached * h_rg, rest, config.ridge)
        rest = rest - h_rg * np.tensordot(model.strength_f, reached, 1)
        shrinkage = _noise_to_signal(train, rest) if len(frame.contexts) == 1 else None
        if shrinkage is None:
            shrinkage = _chosen(rest, h_rg, effects.perturbation_r, config.shrinkages, unit)
        model.own_pg = _means(
            rest, h_rg, effects.perturbation_r, len(frame.perturbations), shrinkage * unit
        )
        return model

    def _h(self, context_q: np.ndarray) -> np.ndarray:
        """Return how much each readout can change, [q, g]; 1 in units relative to control."""
        if self.frame.is_relative or self.frame.unit == "score":
            return np.ones((len(context_q), len(self.frame.readouts)), np.float32)
        return -np.expm1(-np.maximum(self.frame.origin_kg[context_q], 0)).astype(np.float32)

    def _activities(
        self, targets_q: list[tuple[str, ...]], context_q: np.ndarray
    ) -> list[np.ndarray]:
        """Return how active each target is in its context: 1 where it is no readout."""
        h_qg, readouts = self._h(context_q), self.frame.readouts
        found = [readouts.find(targets) for targets in targets_q]
        return [np.where(i >= 0, h[i], 1.0) for h, i in zip(h_qg, found, strict=True)]

    def change(self, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
        """Return the predicted change of each condition [q, g], and whether it was seen."""
        known, missing = asked.parts(whole=True)
        h_qg = self._h(asked.context_q)
        activities = self._activities(asked.targets_q, asked.context_q)
        reached = self.reach.of_targets(asked.targets_q, activities)
        context_qg = np.vstack([self.context_kg, np.zeros_like(self.shared_g)[None]])
        per_h = self.shared_g + context_qg[asked.context_q] + known @ self.own_pg
        return h_qg * (per_h + np.tensordot(self.strength_f, reached, 1)), missing == 0

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict control plus change; perturbations never seen get what is shared: `prior`."""
        asked = self.frame.ask(conditions)
        delta, seen = self.change(asked)
        return asked.answer(delta, asked.status(seen, "prior"))

    def state(self) -> State:
        """Return names, means and the reach of targets."""
        arrays, about = self.frame.state()
        reach_arrays, reach_about = self.reach.state()
        arrays |= {"shared_g": self.shared_g, "context_kg": self.context_kg,
                   "own_pg": self.own_pg, "strength_f": self.strength_f}  # fmt: skip
        arrays |= {f"reach.{k}": v for k, v in reach_arrays.items()}
        return arrays, {**about, "reach": reach_about}

    @classmethod
    def restore(cls, config: RelativeEffectsConfig, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, about = state
        reach = {k[6:]: v for k, v in arrays.items() if k.startswith("reach.")}
        return cls(Frame.restore(state), Reach.restore((reach, about["reach"])), arrays)


def crossfitted_changes(
    config: RelativeEffectsConfig,
    train: Responses,
    graphs: Mapping[str, Graph] | None,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return, by key, the change that a model fitted without a condition predicts for it.

    Each fifth of the perturbed conditions is predicted from the rest.
    """
    found: dict[str, np.ndarray] = {}
    perturbed = rng.permutation(np.flatnonzero(~train.is_control))
    for fold in np.array_split(perturbed, min(_N_FOLDS, len(perturbed))):
        rest = train.select(np.setdiff1d(np.arange(len(train.keys)), fold))
        if rest.is_control.all():
            continue  # a single perturbed condition: nothing to fit on without it
        other = RelativeEffects.with_graphs(config, rest, graphs)
        change, _ = other.change(other.frame.ask(train.conditions[fold]))
        found |= {train.keys[i]: c for i, c in zip(fold, change, strict=True)}
    return found


def _means(
    rest_rg: np.ndarray, h_rg: np.ndarray, group_r: np.ndarray, n_groups: int, penalty: float
) -> np.ndarray:
    """Return argmin_m sum |rest - h m|^2 + penalty |m|^2 in each group, float32 [groups, g]."""
    top, bottom = np.zeros((2, n_groups, rest_rg.shape[1]))
    np.add.at(top, group_r, rest_rg * h_rg)
    np.add.at(bottom, group_r, np.square(h_rg))
    return (top / (bottom + penalty)).astype(np.float32)


def _strengths(x_frg: np.ndarray, rest_rg: np.ndarray, ridge: float) -> np.ndarray:
    """Return the ridge coefficients of the kinds of path, shared by all conditions and readouts."""
    x = x_frg.reshape(len(x_frg), -1).astype(np.float64)
    scale = np.sqrt(np.square(x).sum(1))
    live = scale > 0
    gram = (x[live] @ x[live].T) / np.outer(scale[live], scale[live])
    right = (x[live] @ rest_rg.ravel().astype(np.float64)) / scale[live]
    strength = np.zeros(len(x))
    if live.any():
        strength[live] = np.linalg.solve(gram + ridge * np.eye(len(gram)), right) / scale[live]
    return strength


def _noise_to_signal(train: Responses, rest_rg: np.ndarray) -> float | None:
    """Return the shrinkage that noise asks for, from the halves of the cells; None without any."""
    if train.halves is None:
        return None
    gap = train.halves[0, ~train.is_control] - train.halves[1, ~train.is_control]
    if np.isnan(gap).all():
        return None
    noise = float(np.nanmean(np.square(gap))) / 4
    signal = float(np.square(rest_rg).mean()) - noise
    return noise / max(signal, 1e-3 * noise)


def _chosen(
    rest_rg: np.ndarray, h_rg: np.ndarray, group_r: np.ndarray, candidates: tuple[float, ...],
    unit: float,
) -> float:  # fmt: skip
    """Return the shrinkage that best predicts each row from the others of its perturbation."""
    n_p = np.bincount(group_r)
    rows = np.flatnonzero(n_p[group_r] > 1)
    if not len(rows):
        return min(candidates, key=lambda s: abs(s - 1))
    top, bottom = np.zeros((2, len(n_p), rest_rg.shape[1]))
    np.add.at(top, group_r, rest_rg * h_rg)
    np.add.at(bottom, group_r, np.square(h_rg))
    top_r = top[group_r[rows]] - rest_rg[rows] * h_rg[rows]
    bottom_r = bottom[group_r[rows]] - np.square(h_rg[rows])
    errors = [
        np.square(rest_rg[rows] - h_rg[rows] * top_r / (bottom_r + s * unit)).sum()
        for s in candidates
    ]
    return candidates[int(np.argmin(errors))]


card = ModelCard(
    name="relative_effects",
    summary="changes in proportion to expression, shared over contexts; targets lower themselves",
    source=(
        "own: shrunken least squares under delta = h (mean + context + perturbation), "
        "h = 1 - exp(-control), as log1p of a scaled count moves"
    ),
    config=RelativeEffectsConfig,
    model=RelativeEffects,
    predicts=frozenset({"perturbations", "combinations", "contexts"}),
)
