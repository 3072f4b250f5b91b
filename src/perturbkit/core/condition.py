"""What was done to the cells: the condition, its notation, and tables of conditions."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import polars as pl

from perturbkit.core.errors import SchemaError

CONTROL = "control"
Kind = Literal["crispri", "crispra", "ko", "oe", "drug", "cytokine", "unknown"]
KINDS: tuple[str, ...] = get_args(Kind)

CONDITION_SCHEMA = {
    "perturbation": pl.String,
    "context": pl.String,
    "kind": pl.String,
    "dose_um": pl.Float64,
    "time_h": pl.Float64,
}
"""The columns every table of conditions has; dose and time are null where not stated."""

_SUFFIX = re.compile(r"@([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(nM|uM|µM|μM|mM|M|min|h|d)$")
_TO_UM = {"nM": 1e-3, "uM": 1.0, "µM": 1.0, "μM": 1.0, "mM": 1e3, "M": 1e6}
_TO_H = {"min": 1 / 60, "h": 1.0, "d": 24.0}
_FOREIGN_CONTROLS = frozenset({"ctrl", CONTROL})


@dataclass(frozen=True, order=True)
class Condition:
    r"""One perturbation in one context; `Condition.parse("A+B", context="K562")`.

    The notation is `control`, `A`, `A+B`, `A+B+C`, `drug@10uM`, `drug@10uM@24h`. Order does not
    matter. A `+` inside brackets belongs to the name, as in `(+)-JQ1`; elsewhere `\\+` writes one.
    """

    targets: tuple[str, ...] = ()
    """what is perturbed, sorted, without repeats; empty for the control"""
    context: str = "default"
    """cell line, cell type, donor, ...: what the cells are"""
    kind: str = "unknown"
    """how they are perturbed, one of KINDS; "unknown" where not stated"""
    dose_um: float | None = None
    """dose in micromolar"""
    time_h: float | None = None
    """time since the perturbation, in hours"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(sorted(set(self.targets))))
        if self.kind not in KINDS:
            message = f"kind {self.kind!r} is not one of {', '.join(KINDS)}"
            raise SchemaError(message)
        for name in ("dose_um", "time_h"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                message = f"{name} is {value}; it must be a number of at least 0"
                raise SchemaError(message)

    @classmethod
    def parse(cls, notation: str, *, context: str = "default", kind: str = "unknown") -> Self:
        """Read the notation; GEARS' `A+ctrl`, `ctrl+A` and `ctrl` are read as well.

        Raises:
            SchemaError: an empty name, or a dose or time that is given twice.
        """
        body, found = notation.strip(), {}
        while match := _SUFFIX.search(body):
            number, unit = match.groups()
            field = "dose_um" if unit in _TO_UM else "time_h"
            if field in found:
                message = f"{notation!r} states {field} twice; write it once, as drug@10uM@24h"
                raise SchemaError(message)
            found[field] = _number(number, notation) * (_TO_UM | _TO_H)[unit]
            body = body[: match.start()].rstrip()
        names = _split(body)
        if not all(names):
            message = (
                f"{notation!r} has an empty name beside a '+'; write A+B, or \\+ for a plus "
                "that belongs to the name"
            )
            raise SchemaError(message)
        targets = tuple(n for n in names if n not in _FOREIGN_CONTROLS)
        return cls(targets=targets, context=context, kind=kind, **found)

    @property
    def is_control(self) -> bool:
        """Whether nothing was perturbed."""
        return not self.targets

    @property
    def perturbation(self) -> str:
        """The targets in canonical notation, without dose and time."""
        return "+".join(_escape(t) for t in self.targets) or CONTROL

    @property
    def notation(self) -> str:
        """The whole notation, without the context; `parse` reads it back."""
        dose = "" if self.dose_um is None else f"@{self.dose_um:g}uM"
        time = "" if self.time_h is None else f"@{self.time_h:g}h"
        return f"{self.perturbation}{dose}{time}"

    @property
    def key(self) -> str:
        """What identifies the condition in a table: notation and context."""
        return f"{self.notation} | {self.context}"

    def within(self, context: str) -> Self:
        """Return the same perturbation in another context."""
        return replace(self, context=context)

    def control(self) -> Self:
        """Return the control of this condition's context."""
        return replace(self, targets=(), dose_um=None, time_h=None)

    def __str__(self) -> str:
        return self.notation


def _number(text: str, notation: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        message = f"{text!r} in {notation!r} is not a number; write drug@10uM or drug@0.5uM"
        raise SchemaError(message) from error


def _split(body: str) -> list[str]:
    """Split at each '+' outside brackets that no backslash precedes."""
    names, current, depth, escaped = [], "", 0, False
    for character in body:
        if escaped:
            current, escaped = current + character, False
        elif character == "\\":
            escaped = True
        elif character == "+" and depth == 0:
            names.append(current.strip())
            current = ""
        else:
            depth = max(0, depth + (character in "([{") - (character in ")]}"))
            current += character
    return [*names, (current + "\\" * escaped).strip()]


def _escape(target: str) -> str:
    """Write a target so that `_split` reads it back as one name, whatever stands beside it."""
    # a bracket left open would swallow the '+' that follows
    if "\\" not in target and _split(f"{target}+{target}") == [target, target]:
        return target
    return re.sub(r"([\\+()\[\]{}])", r"\\\1", target)


def condition_table(conditions: Iterable[Condition]) -> pl.DataFrame:
    """Return the table of conditions, a row each, with the columns of CONDITION_SCHEMA."""
    rows = [(c.perturbation, c.context, c.kind, c.dose_um, c.time_h) for c in conditions]
    return pl.DataFrame(rows, schema=CONDITION_SCHEMA, orient="row")


def complete_table(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table of conditions with every column of CONDITION_SCHEMA, these first.

    Raises:
        SchemaError: there is no `perturbation` column, or a column has another type.
    """
    if "perturbation" not in table.columns:
        message = (
            f"found the columns {', '.join(table.columns) or 'none'}; "
            "a table of conditions needs a column 'perturbation'"
        )
        raise SchemaError(message)
    defaults = {"context": "default", "kind": "unknown"}
    columns = [
        (pl.col(n) if n in table.columns else pl.lit(defaults.get(n))).cast(t).alias(n)
        for n, t in CONDITION_SCHEMA.items()
    ]
    try:
        return table.with_columns(columns).select(*CONDITION_SCHEMA, pl.exclude(*CONDITION_SCHEMA))
    except pl.exceptions.PolarsError as error:
        message = f"a condition column has the wrong type ({error}); doses and times are numbers"
        raise SchemaError(message) from error


def conditions_of(table: pl.DataFrame) -> list[Condition]:
    """Return the condition of each row of a table, notation parsed."""
    conditions = []
    for name, context, kind, dose, time in complete_table(table).select(*CONDITION_SCHEMA).rows():
        condition = Condition.parse(name, context=context, kind=kind or "unknown")
        stated = {"dose_um": dose, "time_h": time}
        changes = {k: v for k, v in stated.items() if v is not None and not math.isnan(v)}
        conditions.append(replace(condition, **changes) if changes else condition)
    return conditions


def condition_keys(table: pl.DataFrame) -> list[str]:
    """Return the key of each row: perturbation, dose, time and context, in canonical notation."""
    return [condition.key for condition in conditions_of(table)]
