"""Vectors of the targets for models that generalize over genes: given, or read off the screen."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.card import State
from perturbkit.models.closed_form import leading_directions
from perturbkit.models.deltas import Asked, Effects


@dataclass(frozen=True, eq=False)
class TargetFeatures:
    """A vector for each target that can be asked for, and which training rows have one."""

    names: Vocabulary
    """every name with a vector, seen in training or not"""
    values: np.ndarray
    """float32 [names, width]"""
    name_p: np.ndarray
    """position among the names of each training perturbation; -1 for combinations and for
    targets without a vector"""

    @classmethod
    def of(
        cls,
        effects: Effects,
        features: Features | None,
        rng: np.random.Generator,
        n_directions: int = 10,
    ) -> Self:
        """Take the features given, or the loadings of each readout on the leading directions.

        Without features only targets whose own readout is measured have a vector.
        """
        if features is not None:
            names, values = features.names, features.values
        else:
            change = np.nan_to_num(effects.delta_rg)
            names = effects.frame.readouts
            values = np.ascontiguousarray(leading_directions(change, n_directions, rng).T)
        single = [t[0] if len(t) == 1 else "" for t in effects.targets_p]
        return cls(names, values, names.find(single))

    def rows(self, effects: Effects, context: int) -> np.ndarray:
        """Return the rows of a context whose perturbation is one target with a vector."""
        return np.flatnonzero(
            (effects.context_r == context) & (self.name_p[effects.perturbation_r] >= 0)
        )

    def of_rows(self, effects: Effects, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the targets of some rows, float64."""
        return self.values[self.name_p[effects.perturbation_r[rows]]].astype(np.float64)

    def ask(self, asked: Asked) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
        """Return the targets asked for.

        Returns:
            1 where a condition has a target [conditions, distinct targets]; position of each
            distinct target among the names; whether all targets of a condition have vectors.
        """
        row = np.repeat(np.arange(len(asked)), [len(t) for t in asked.targets_q])
        place = self.names.find(t for targets in asked.targets_q for t in targets)
        complete = np.bincount(row[place < 0], minlength=len(asked)) == 0
        row, place = row[place >= 0], place[place >= 0]
        distinct, column = np.unique(place, return_inverse=True)
        shape = (len(asked), len(distinct))
        return sparse.csr_matrix((np.ones(len(row)), (row, column)), shape), distinct, complete

    def state(self) -> State:
        """Return arrays and plain values, to lie beside those of the model."""
        arrays = {"feature_values": self.values, "feature_name_p": self.name_p}
        return arrays, {"feature_names": list(self.names)}

    @classmethod
    def restore(cls, state: State) -> Self:
        """Rebuild from a state that holds this one's."""
        arrays, values = state
        names = Vocabulary(values["feature_names"], "target")
        return cls(names, arrays["feature_values"], arrays["feature_name_p"])


def loadings_of(
    train: Responses, rng: np.random.Generator, n_directions: int = 10
) -> Features | None:
    """Return what the screen itself says of its readouts, as features of the genes they measure.

    The vector of a gene is the loadings of its readout on the leading directions of the training
    changes. None where fewer than three training targets are readouts, as in a screen of drugs.
    """
    effects = Effects.of(train)
    own = TargetFeatures.of(effects, None, rng, n_directions)
    if (own.name_p >= 0).sum() < 3:
        return None
    return Features(own.names, own.values, "readout_loadings")
