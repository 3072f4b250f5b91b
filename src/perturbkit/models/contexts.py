"""Contexts described by their control profile: a new one is a mixture of those it resembles."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import polars as pl

from perturbkit.core.condition import CONTROL
from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import Responses
from perturbkit.core.units import RELATIVE_UNITS


def resemblance(control_qg: np.ndarray, control_kg: np.ndarray) -> np.ndarray:
    """Return how much each context asked for resembles each known one, rows of sum 1, [q, k].

    Softmax of the negative mean squared distance of control profiles, in units of half the median
    distance between known contexts; readouts missing on either side do not count.

    Raises:
        SchemaError: a profile shares no readout with the known ones.
    """
    square_qk = _distances(control_qg, control_kg)
    if np.isnan(square_qk).any():
        message = "a control profile shares no measured readout with those of the training contexts"
        raise SchemaError(message)
    between = _distances(control_kg, control_kg)[np.triu_indices(len(control_kg), 1)]
    between = between[between > 0]
    unit = float(np.median(between)) / 2 if between.size else 1.0
    scaled = -(square_qk - square_qk.min(1, keepdims=True)) / unit
    weight = np.exp(scaled)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def _distances(left_qg: np.ndarray, right_kg: np.ndarray) -> np.ndarray:
    rows = []
    for profile in left_qg:
        gap = np.square(right_kg - profile, dtype=np.float64)
        known = ~np.isnan(gap)
        n = known.sum(1)
        rows.append(np.divide(np.where(known, gap, 0).sum(1), n, out=np.full(len(n), np.nan),
                              where=n > 0))  # fmt: skip
    return np.stack(rows)


class Controls:
    """Control profiles of the contexts of a model, those with perturbations first of all.

    Args:
        trained: contexts with perturbations in the training set.
        profiles: control profile of each context that has one, by name.
    """

    def __init__(self, trained: list[str], profiles: dict[str, np.ndarray]) -> None:
        self.trained, self.profiles = trained, profiles

    @classmethod
    def of(cls, train: Responses) -> Self:
        """Take the controls of a training set.

        Raises:
            SchemaError: the unit is relative to control, so that every control is zero.
        """
        if train.unit in RELATIVE_UNITS:
            message = (
                f"in {train.unit} every control is zero and describes no context; use "
                "model.context_from=symbol, or values that are not relative to control"
            )
            raise SchemaError(message)
        trained = sorted(set(train.contexts[~train.is_control].tolist()))
        names = sorted(set(train.contexts[train.is_control].tolist()) | set(trained))
        return cls(trained, dict(zip(names, train.control_of(names), strict=True)))

    def with_new(self, controls: Responses) -> Self:
        """Return these and the controls of further contexts."""
        rows = np.flatnonzero(controls.is_control)
        new = {str(controls.contexts[i]): controls.mean_cg[i] for i in rows}
        return type(self)(self.trained, {**new, **self.profiles})

    def mix(self, contexts: list[str]) -> np.ndarray:
        """Return how much each context resembles each trained one, [q, k]."""
        known = np.stack([self.profiles[c] for c in self.trained])
        distinct = sorted(set(contexts))
        if not distinct:
            return np.zeros((0, len(self.trained)), np.float32)
        weights = resemblance(np.stack([self.profiles[c] for c in distinct]), known)
        return weights[[distinct.index(c) for c in contexts]]

    def describes(self, contexts: Sequence[str] | np.ndarray) -> np.ndarray:
        """Say which contexts have a control profile here."""
        return np.array([c in self.profiles for c in contexts], bool)

    def shares(self, contexts: list[str]) -> np.ndarray:
        """Return `mix`, with zeros for contexts without a profile, float32 [q, k]."""
        known = self.describes(contexts)
        found = np.zeros((len(contexts), len(self.trained)), np.float32)
        found[known] = self.mix([c for c in contexts if c in self.profiles])
        return found

    def carry_over(
        self, base: Any, conditions: pl.DataFrame, values_cg: np.ndarray, status_c: np.ndarray
    ) -> None:
        """Overwrite what a base says of contexts that have a profile and no perturbation."""
        names = conditions["context"].to_numpy()
        rows = np.flatnonzero(self.describes(names) & ~np.isin(names, self.trained))
        if rows.size:
            found = changed_controls(base, self, conditions[rows])
            values_cg[rows], status_c[rows] = found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and plain values."""
        names = sorted(self.profiles)
        profiles = np.stack([self.profiles[n] for n in names]).astype(np.float32)
        return {"profiles": profiles}, {"names": names, "trained": self.trained}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> Self:
        """Rebuild from `state`."""
        profiles = dict(zip(plain["names"], arrays["profiles"], strict=True))
        return cls(list(plain["trained"]), profiles)


def changed_controls(
    base: Any, controls: Controls, conditions: pl.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Predict contexts that a base was not fitted on: their control plus a change known elsewhere.

    The change is the mean of what the base predicts in the trained contexts, each counted as much
    as the new one resembles it.

    Args:
        base: a fitted `models.base.Base`.
        controls: profiles of all contexts asked for.
        conditions: what is asked for.

    Returns:
        Values [c, g], and the status of each condition: `prior`, controls `seen`.
    """
    names = conditions["context"].to_list()
    mix = controls.mix(names)
    values = np.stack([controls.profiles[n] for n in names]).astype(np.float32)
    total, weight = np.zeros(values.shape), np.zeros(len(names))
    for k, context in enumerate(controls.trained):
        said, status = base.predict(conditions.with_columns(context=pl.lit(context)))
        answered = status != "refused"
        change = np.where(answered[:, None], said - controls.profiles[context], 0)
        total += mix[:, k : k + 1] * change
        weight += mix[:, k] * answered
    control = (conditions["perturbation"] == CONTROL).to_numpy()
    change = total / np.maximum(weight, 1e-30)[:, None]
    values = np.where(control[:, None], values, values + change).astype(np.float32)
    status = np.where(control, "seen", np.where(weight > 0, "prior", "refused"))
    return values, status.astype("<U9")
