"""Responses: values by member, condition and readout. The currency of models and metrics."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
import polars as pl

from perturbkit.core.condition import CONTROL, complete_table, condition_keys
from perturbkit.core.errors import FileError, SchemaError, unknown_name
from perturbkit.core.files import atomic_path, existing
from perturbkit.core.spread import Spread
from perturbkit.core.units import RELATIVE_UNITS, Unit
from perturbkit.core.vocabulary import Vocabulary

Status = Literal["measured", "seen", "prior", "neighbour", "refused"]
STATUSES: tuple[str, ...] = get_args(Status)
FORMAT = 1
"""Version of the file layout; raised when it changes."""
_SPREAD = -3
"""what the scale of the spread has in place of a member's number; halves have -1 and -2"""


@dataclass(frozen=True, eq=False)
class Responses:
    """What is measured or predicted for each condition, in the unit of the screen.

    Truth has one member, an ensemble many. NaN means not measured, or refused.
    """

    values: np.ndarray
    """float32 [members, conditions, readouts]"""
    conditions: pl.DataFrame
    """a row per condition: CONDITION_SCHEMA, `n_cells`, `status`"""
    readouts: Vocabulary
    """names of the last axis"""
    unit: Unit
    """unit of the values"""
    halves: np.ndarray | None = field(default=None)
    """float32 [2, conditions, readouts]: means of two disjoint halves of the cells, where cells
    or replicates exist; what the ceiling is computed from"""
    spread: Spread | None = field(default=None)
    """how far the mean over members may be off, where that was calibrated"""

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float32)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "conditions", _checked_table(self.conditions))
        expected = (self.conditions.height, len(self.readouts))
        if values.ndim != 3 or values.shape[1:] != expected or not values.shape[0]:
            message = (
                f"values have the shape {values.shape}; {expected[0]} conditions and "
                f"{expected[1]} readouts need (members, {expected[0]}, {expected[1]})"
            )
            raise SchemaError(message)
        if self.halves is not None and self.halves.shape != (2, *expected):
            message = f"halves have the shape {self.halves.shape}; expected {(2, *expected)}"
            raise SchemaError(message)
        if self.spread is not None and self.spread.scale_cg.shape != expected:
            message = f"the spread has the shape {self.spread.scale_cg.shape}; expected {expected}"
            raise SchemaError(message)
        if len(set(self.keys)) != len(self.keys):
            twice = next(k for k in self.keys if self.keys.count(k) > 1)
            message = f"condition {twice!r} occurs more than once; merge its rows first"
            raise SchemaError(message)

    @cached_property
    def keys(self) -> list[str]:
        """The identity of each condition: notation and context."""
        return condition_keys(self.conditions)

    @cached_property
    def mean_cg(self) -> np.ndarray:
        """The mean over members, conditions by readouts."""
        return self.values[0] if len(self.values) == 1 else self.values.mean(0, dtype=np.float32)

    @property
    def std_cg(self) -> np.ndarray:
        """The standard deviation over members (n - 1); NaN for a single member."""
        if len(self.values) == 1:
            return np.full(self.values.shape[1:], np.nan, np.float32)
        return self.values.std(0, ddof=1, dtype=np.float32)

    def interval(self, level: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the intervals that hold the truth with probability `level`, [c, g].

        Raises:
            SchemaError: no spread was calibrated, or not for this level.
        """
        if self.spread is None:
            message = (
                "these responses state no uncertainty; it is calibrated on the validation "
                "conditions of a fit (split.val > 0, at least five of them)"
            )
            raise SchemaError(message)
        half = self.spread.half_width(level)
        return self.mean_cg - half, self.mean_cg + half

    @property
    def is_control(self) -> np.ndarray:
        """Whether each condition is a control, as booleans."""
        return (self.conditions["perturbation"] == CONTROL).to_numpy()

    @property
    def contexts(self) -> np.ndarray:
        """The context of each condition, as text."""
        return self.conditions["context"].to_numpy().astype(str)

    def control_of(self, contexts: Iterable[str]) -> np.ndarray:
        """Return the control profile of each context asked for, [len(contexts), readouts].

        Units that are relative to control have a control of zero; in other units the control of
        the context must be among the conditions.

        Raises:
            SchemaError: a context has no control here.
        """
        wanted = [str(c) for c in contexts]
        if self.unit in RELATIVE_UNITS:
            return np.zeros((len(wanted), len(self.readouts)), np.float32)
        where = {str(c): i for i, c in enumerate(self.contexts) if self.is_control[i]}
        missing = sorted({c for c in wanted if c not in where})
        if missing:
            message = (
                f"context {missing[0]!r} has no control among these responses, and {self.unit} "
                "needs one to say what changed; keep the controls when selecting conditions"
            )
            raise SchemaError(message)
        return self.mean_cg[[where[c] for c in wanted]]

    def delta_cg(self) -> np.ndarray:
        """Return the mean over members minus the control of each condition's context."""
        return self.mean_cg - self.control_of(self.contexts)

    def select(self, rows: Sequence[int] | np.ndarray) -> Self:
        """Return some conditions, by positions or a boolean mask, in the order given."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return replace(
            self,
            values=self.values[:, index],
            conditions=self.conditions[index],
            halves=None if self.halves is None else self.halves[:, index],
            spread=None if self.spread is None else self.spread.select(index),
        )

    def find(self, keys: Iterable[str]) -> np.ndarray:
        """Return the position of each key, -1 where it is not here."""
        where = {key: i for i, key in enumerate(self.keys)}
        return np.array([where.get(key, -1) for key in keys], np.int64)

    def at(self, keys: Iterable[str]) -> Self:
        """Return the conditions with these keys, in this order.

        Raises:
            UnknownNameError: a key is not here.
        """
        keys = list(keys)
        index = self.find(keys)
        if (index < 0).any():
            raise unknown_name("condition", keys[int(np.argmin(index))], self.keys)
        return self.select(index)

    def with_readouts(self, readouts: Vocabulary) -> Self:
        """Return the readouts named, in that order.

        Raises:
            UnknownNameError: one is not here.
        """
        if readouts == self.readouts:
            return self
        index = self.readouts.encode(readouts)
        halves = None if self.halves is None else self.halves[..., index]
        spread = None if self.spread is None else self.spread.with_readouts(index)
        return replace(
            self, values=self.values[..., index], readouts=readouts, halves=halves, spread=spread
        )

    @classmethod
    def stack(cls, members: Sequence["Responses"]) -> "Responses":
        """Join the members of an ensemble; the weakest status of each condition counts.

        Raises:
            SchemaError: conditions, readouts or units differ.
        """
        first = members[0]
        for other in members[1:]:
            same = (other.keys == first.keys, other.readouts == first.readouts)
            if not all(same) or other.unit != first.unit:
                message = "members differ in conditions, readouts or unit; predict them alike"
                raise SchemaError(message)
        ranks = [[STATUSES.index(s) for s in m.conditions["status"]] for m in members]
        status = [STATUSES[r] for r in np.max(ranks, 0)] if first.keys else []
        table = first.conditions.with_columns(status=pl.Series(status, dtype=pl.String))
        values = np.concatenate([m.values for m in members])
        return replace(first, values=values, conditions=table, spread=None)

    def save(self, path: str | Path) -> None:
        """Write a parquet file, a row per member and condition, atomically."""
        n_members, n_conditions, n_readouts = self.values.shape
        parts = [self._rows(self.values[m], m) for m in range(n_members)]
        if self.halves is not None:
            parts += [self._rows(self.halves[h], -1 - h) for h in range(2)]
        if self.spread is not None:
            parts.append(self._rows(self.spread.scale_cg, _SPREAD))
        about = {"format": FORMAT, "unit": self.unit, "readouts": list(self.readouts),
                 "shape": [n_members, n_conditions, n_readouts],
                 "halves": self.halves is not None,
                 "spread": None if self.spread is None else self.spread.plain()}  # fmt: skip
        with atomic_path(path) as temporary:
            pl.concat(parts).write_parquet(
                temporary, metadata={"perturbkit": json.dumps(about, ensure_ascii=False)}
            )

    def _rows(self, values_cg: np.ndarray, member: int) -> pl.DataFrame:
        shape = pl.Array(pl.Float32, len(self.readouts))
        column = pl.Series("values", np.ascontiguousarray(values_cg, np.float32), dtype=shape)
        member_column = pl.lit(member, pl.Int32).alias("member")
        return self.conditions.with_columns(member_column, column)

    @classmethod
    def load(cls, path: str | Path) -> "Responses":
        """Read what `save` wrote.

        Raises:
            FileError: missing, cut short, or not written by `save`.
        """
        path = existing(path, "responses file")
        try:
            about = json.loads(pl.read_parquet_metadata(path)["perturbkit"])
            table = pl.read_parquet(path)
            if about["format"] != FORMAT:
                message = f"{path} has layout {about['format']}; this version reads {FORMAT}"
                raise FileError(message)
            m, c, g = about["shape"]
            values = table["values"].to_numpy().reshape(-1, c, g)
        except (KeyError, ValueError, pl.exceptions.PolarsError, OSError) as error:
            if isinstance(error, FileError):
                raise
            message = f"{path} is not a whole file of responses ({error}); write it again"
            raise FileError(message) from error
        return cls(
            values=values[:m],
            conditions=table.head(c).drop("member", "values"),
            readouts=Vocabulary(about["readouts"], "readout"),
            unit=about["unit"],
            halves=values[m : m + 2] if about["halves"] else None,
            spread=_spread(values[-1], about.get("spread")),
        )

    def wide(self) -> pl.DataFrame:
        """Return conditions, then a column per readout with the mean over members."""
        clash = [n for n in self.conditions.columns if n in self.readouts]
        table = self.conditions.rename({n: f"condition_{n}" for n in clash})
        return table.hstack(pl.DataFrame(self.mean_cg, schema=list(self.readouts), orient="row"))

    def __repr__(self) -> str:
        m, c, g = self.values.shape
        return f"Responses({m} members x {c:,} conditions x {g:,} readouts in {self.unit})"


def _spread(scale_cg: np.ndarray, about: dict | None) -> Spread | None:
    if about is None:
        return None
    return Spread(scale_cg, tuple(about["levels"]), tuple(about["factors"]))


def _checked_table(table: pl.DataFrame) -> pl.DataFrame:
    table = complete_table(table)
    if "n_cells" not in table.columns:
        table = table.with_columns(n_cells=pl.lit(None, pl.Int64))
    if "status" not in table.columns:
        table = table.with_columns(status=pl.lit("measured"))
    bad = set(table["status"].to_list()) - set(STATUSES)
    if bad:
        message = f"status {sorted(map(str, bad))[0]!r} is not one of {', '.join(STATUSES)}"
        raise SchemaError(message)
    return table.with_columns(pl.col("n_cells").cast(pl.Int64))
