"""What closed-form models share: training changes by name, questions coded, answers assembled."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from scipy import sparse

from perturbkit.core.condition import Condition, complete_table, conditions_of
from perturbkit.core.errors import SchemaError
from perturbkit.core.responses import STATUSES, Responses
from perturbkit.core.units import RELATIVE_UNITS, Unit
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.card import State


def nan_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean over what is measured; NaN, without a warning, where nothing is."""
    known = ~np.isnan(values)
    n = known.sum(axis)
    total = np.where(known, values, 0).sum(axis, dtype=np.float64)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Frame:
    """Names, control profiles and mean changes: what every baseline keeps of its training set."""

    perturbations: Vocabulary
    """what was done, combinations as names of their own, sorted"""
    contexts: Vocabulary
    """every context of the training set, those with nothing but a control included, sorted"""
    readouts: Vocabulary
    unit: Unit
    origin_kg: np.ndarray
    """control profile of each context, float32; zero in units relative to control"""
    mean_kg: np.ndarray
    """mean change over the perturbations of each context, float32; where a context has no
    perturbation or no measurement of a readout, the mean of the other contexts' means"""
    trained_k: np.ndarray
    """whether a context has perturbations, or only its control"""

    @property
    def is_relative(self) -> bool:
        """Whether the unit already is the change against control."""
        return self.unit in RELATIVE_UNITS

    def ask(self, conditions: pl.DataFrame) -> "Asked":
        """Code the conditions asked for; doses and times are ignored by all that build on this."""
        table = complete_table(conditions).drop("n_cells", "status", strict=False)
        parsed = conditions_of(table)
        return Asked(
            frame=self,
            table=table,
            context_q=self.contexts.find(c.context for c in parsed),
            whole_q=self.perturbations.find(c.perturbation for c in parsed),
            targets_q=[c.targets for c in parsed],
        )

    def mean_of(self, context_q: np.ndarray) -> np.ndarray:
        """Return the mean change in each context; of an unknown one (-1), that of all others."""
        with_general = np.vstack([self.mean_kg, nan_mean(self.mean_kg[self.trained_k])])
        return with_general[context_q]

    def state(self) -> State:
        """Return arrays and plain values."""
        arrays = {
            "origin_kg": self.origin_kg,
            "mean_kg": self.mean_kg,
            "trained_k": self.trained_k.astype(np.uint8),
        }
        names = {n: list(getattr(self, n)) for n in ("perturbations", "contexts", "readouts")}
        return arrays, {**names, "unit": self.unit}

    @classmethod
    def restore(cls, state: State) -> Self:
        """Rebuild from `state`."""
        arrays, values = state
        kinds = {"perturbations": "perturbation", "contexts": "context", "readouts": "readout"}
        return cls(
            **{n: Vocabulary(values[n], k) for n, k in kinds.items()},
            unit=values["unit"],
            origin_kg=arrays["origin_kg"],
            mean_kg=arrays["mean_kg"],
            trained_k=arrays["trained_k"].astype(bool),
        )


def single_name(target: str) -> str:
    """Return how one target perturbed alone is written among the perturbations."""
    return Condition(targets=(target,)).perturbation


@dataclass(frozen=True, eq=False)
class Asked:
    """Conditions asked for, coded by what was trained on."""

    frame: Frame
    table: pl.DataFrame
    context_q: np.ndarray
    """code of the context, -1 where unknown"""
    whole_q: np.ndarray
    """code of the perturbation as it is written, -1 where it was never seen so"""
    targets_q: list[tuple[str, ...]]
    """names of the targets, empty for controls"""

    def __len__(self) -> int:
        return self.table.height

    @cached_property
    def is_control(self) -> np.ndarray:
        """Whether nothing is perturbed."""
        return np.array([not t for t in self.targets_q], bool)

    def parts(self, *, whole: bool) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Return what is known of each condition, and how many of its targets are not.

        Args:
            whole: a combination seen as such is one part; otherwise its targets are, and the
                combination only where none of them was seen alone.

        Returns:
            1 at each known part [conditions, perturbations]; number of unknown targets.
        """
        rows, columns, missing = [], [], np.zeros(len(self), np.int64)
        for q, targets in enumerate(self.targets_q):
            singles = self.frame.perturbations.find(single_name(t) for t in targets)
            singles = singles[singles >= 0]
            as_whole = self.whole_q[q] >= 0 and (whole or not len(singles))
            chosen = self.whole_q[q : q + 1] if as_whole else singles
            missing[q] = 0 if as_whole else len(targets) - len(singles)
            rows += [q] * len(chosen)
            columns += chosen.tolist()
        shape = (len(self), len(self.frame.perturbations))
        return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape), missing

    def status(self, known_q: np.ndarray, otherwise: str | np.ndarray) -> np.ndarray:
        """Return the rank in STATUSES of each condition.

        Args:
            known_q: whether the perturbation itself is known.
            otherwise: the status of what is not known, one for all or one per condition.
        """
        other = np.broadcast_to(np.asarray(otherwise), known_q.shape)
        named = np.where(known_q | self.is_control, "seen", other)
        rank = np.array([STATUSES.index(s) for s in named], np.int64)
        trained = np.append(self.frame.trained_k, False)[self.context_q]
        rank = np.maximum(rank, np.where(trained | self.is_control, 0, STATUSES.index("prior")))
        no_origin = (self.context_q < 0) & (not self.frame.is_relative or self.is_control)
        return np.where(no_origin, STATUSES.index("refused"), rank)

    def answer(
        self, delta_qg: np.ndarray, rank_q: np.ndarray, notes: Mapping[str, list] | None = None
    ) -> Responses:
        """Add the control profiles to the changes; refused conditions become NaN.

        Args:
            delta_qg: predicted change of each condition; ignored for controls.
            rank_q: from `status`.
            notes: further columns of the conditions table.
        """
        frame = self.frame
        outside = np.zeros if frame.is_relative else _nans
        origin = np.vstack([frame.origin_kg, outside((1, len(frame.readouts)))])
        change = np.where(self.is_control[:, None], 0, delta_qg)
        values = (origin[self.context_q] + change).astype(np.float32)
        values[rank_q == STATUSES.index("refused")] = np.nan
        status = pl.Series([STATUSES[r] for r in rank_q], dtype=pl.String)
        table = self.table.with_columns(status=status)
        for name, texts in (notes or {}).items():
            table = table.with_columns(pl.Series(name, texts, dtype=pl.String))
        return Responses(
            values=values[None], conditions=table, readouts=frame.readouts, unit=frame.unit
        )


def _nans(shape: tuple[int, int]) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


@dataclass(frozen=True, eq=False)
class Effects:
    """The change each perturbation made in each context, doses and times averaged."""

    frame: Frame
    perturbation_r: np.ndarray
    """code of the perturbation of each row, int64"""
    context_r: np.ndarray
    """code of the context of each row, int64; rows are sorted by context, then perturbation"""
    delta_rg: np.ndarray
    """change against the control of the context, float32; NaN where not measured"""

    @classmethod
    def of(cls, train: Responses) -> Self:
        """Collect the changes of a training set.

        Raises:
            SchemaError: a context has perturbations but no control, in a unit that needs one.
        """
        parsed = conditions_of(train.conditions)
        contexts = Vocabulary(sorted({c.context for c in parsed}), "context")
        rows = [i for i, c in enumerate(parsed) if not c.is_control]
        if not rows:
            message = (
                f"the training set has {len(parsed)} controls and no perturbation; "
                "a model of changes needs at least one perturbed condition"
            )
            raise SchemaError(message)
        names = [parsed[i].perturbation for i in rows]
        perturbations = Vocabulary(sorted(set(names)), "perturbation")
        origin = _origins(train, contexts)
        context = contexts.encode(parsed[i].context for i in rows)
        pair = context * len(perturbations) + perturbations.encode(names)
        order = np.lexsort((np.array(train.keys)[rows], pair))
        delta = train.mean_cg[np.array(rows)[order]] - origin[context[order]]
        pairs, start = np.unique(pair[order], return_index=True)
        delta_rg = _mean_of_runs(delta, start)
        context_r, perturbation_r = np.divmod(pairs, len(perturbations))
        mean_kg, trained_k = _context_means(delta_rg, context_r, len(contexts))
        frame = Frame(
            perturbations, contexts, train.readouts, train.unit, origin, mean_kg, trained_k
        )
        return cls(frame, perturbation_r, context_r, delta_rg)

    @cached_property
    def is_measured(self) -> np.ndarray:
        """Which changes were measured, booleans [rows, readouts]."""
        return ~np.isnan(self.delta_rg)

    @cached_property
    def deviation_rg(self) -> np.ndarray:
        """Change minus the mean change of the context, 0 where not measured."""
        deviation = self.delta_rg - self.frame.mean_kg[self.context_r]
        return np.where(self.is_measured, deviation, 0).astype(np.float32)

    @cached_property
    def row_kp(self) -> np.ndarray:
        """Row of each context and perturbation, -1 where the pair was not measured."""
        shape = (len(self.frame.contexts), len(self.frame.perturbations))
        rows = np.full(shape, -1, np.int64)
        rows[self.context_r, self.perturbation_r] = np.arange(len(self.context_r))
        return rows

    @cached_property
    def is_single_p(self) -> np.ndarray:
        """Whether each perturbation has one target."""
        table = pl.DataFrame({"perturbation": list(self.frame.perturbations)})
        return np.array([len(c.targets) == 1 for c in conditions_of(table)])

    @cached_property
    def targets_p(self) -> list[tuple[str, ...]]:
        """The targets of each perturbation."""
        table = pl.DataFrame({"perturbation": list(self.frame.perturbations)})
        return [c.targets for c in conditions_of(table)]

    def shared(self, codes: Iterable[int], shrinkage: float) -> np.ndarray:
        """Return the mean deviation of each perturbation over contexts, shrunken towards 0.

        The sum over n contexts is divided by n + shrinkage, readout by readout.
        """
        codes = np.asarray(list(codes), np.int64)
        shape = (len(codes), len(self.context_r))
        place = np.full(len(self.frame.perturbations), -1, np.int64)
        place[codes] = np.arange(len(codes))
        asked = np.flatnonzero(place[self.perturbation_r] >= 0)
        pick = sparse.csr_matrix(
            (np.ones(len(asked), np.float32), (place[self.perturbation_r[asked]], asked)), shape
        )
        n = pick @ self.is_measured.astype(np.float32)
        return (pick @ self.deviation_rg / np.maximum(n + shrinkage, 1e-9)).astype(np.float32)

    def state(self) -> State:
        """Return arrays and plain values."""
        arrays, values = self.frame.state()
        own = ("perturbation_r", "context_r", "delta_rg")
        return arrays | {n: getattr(self, n) for n in own}, values

    @classmethod
    def restore(cls, state: State) -> Self:
        """Rebuild from `state`."""
        own = ("perturbation_r", "context_r", "delta_rg")
        return cls(Frame.restore(state), *(state[0][n] for n in own))


def _origins(train: Responses, contexts: Vocabulary) -> np.ndarray:
    """Control profile of each context; one-readout scores may come without controls."""
    if train.unit == "score" and not train.is_control.any():
        return np.zeros((len(contexts), len(train.readouts)), np.float32)
    return train.control_of(contexts)


def _mean_of_runs(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Mean of each run of rows over what is measured, NaN where nothing is."""
    if len(start) == len(values):
        return np.ascontiguousarray(values, np.float32)
    known = ~np.isnan(values)
    n = np.add.reduceat(known.astype(np.int64), start)
    total = np.add.reduceat(np.where(known, values, 0).astype(np.float64), start)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan).astype(np.float32)


def _context_means(
    delta_rg: np.ndarray, context_r: np.ndarray, n_contexts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean change of each context, and whether it has perturbations."""
    means = [nan_mean(delta_rg[context_r == k]) for k in range(n_contexts)]
    trained = np.bincount(context_r, minlength=n_contexts) > 0
    mean_kg = np.stack(means)
    return np.where(np.isnan(mean_kg), nan_mean(mean_kg), mean_kg).astype(np.float32), trained
