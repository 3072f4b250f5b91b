"""The settings of `prepare`: what is read, kept and computed."""

import operator
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from perturbkit.core.errors import ConfigError
from perturbkit.core.units import Unit
from perturbkit.data.read.labels import LabelOptions

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
    ">": operator.gt, "<": operator.lt,
}  # fmt: skip
SECOND_PASS = ("wilcoxon", "pydeseq2")
"""Tests that read the cells once more."""
_WHERE = re.compile(r"^\s*(.+?)\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*$")


class PrepareConfig(LabelOptions):
    """How cells are filtered and reduced."""

    unit: Unit | None = None
    """unit of files that do not state theirs; it is never guessed"""
    layer: str | None = None
    """layer to read instead of X"""
    where: tuple[str, ...] = ()
    """cells to keep by a column of obs, such as `guide_top_frac>=0.8`; all must hold"""
    min_counts: Annotated[float, Field(ge=0)] = 1.0
    """least sum of a cell's values"""
    min_genes: Annotated[int, Field(ge=0)] = 0
    """least number of readouts with a value other than zero"""
    max_mito: Annotated[float, Field(ge=0, le=1)] = 1.0
    """largest share of a cell's counts in mitochondrial readouts"""
    mito_prefix: str = "MT-"
    """how the names of mitochondrial readouts begin, in any case"""
    mads: Annotated[float, Field(gt=0)] | None = None
    """leave out cells whose log total is further from the median than so many median absolute
    deviations (scaled to a standard deviation); reads the data once more"""
    min_cells: Annotated[int, Field(ge=1)] = 1
    """conditions with fewer cells are left out; controls stay"""
    min_knockdown: Annotated[float, Field(ge=-10, le=1)] | None = None
    """conditions of crispri, ko or unknown kind whose targets are measured and fall by a smaller
    share than this are left out"""
    n_variable: Annotated[int, Field(ge=1)] | None = None
    """keep so many highly variable readouts; perturbed genes are always kept"""
    de: Literal["welch", "wilcoxon", "pydeseq2", "none"] = "welch"
    """tests in `de.parquet`, each condition against its control: Welch's t of the statistics;
    rank sums, which read the data once more and take 8 bytes of disk a value meanwhile; or
    DESeq2's model of the batches as replicates, which reads the data once more and is slow"""
    max_memory_mb: Annotated[int, Field(ge=64)] = 1500
    """refuse to start when more would be needed; sets how much is read at a time"""
    checkpoint_s: Annotated[float, Field(ge=0)] = 60.0
    """seconds between saves from which a stopped run goes on"""
    seed: int = 0
    """seed of the split into halves"""


def keep_where(condition: str, column: Any) -> np.ndarray:
    """Return for each row whether a `where` condition holds; missing values never do.

    Args:
        condition: such as `guide_top_frac>=0.8` or `guide!=NT`.
        column: the values of its column.

    Raises:
        ConfigError: an order asked of text.
    """
    _, sign, text = parse_where(condition)
    values = np.asarray(column)
    try:
        return np.asarray(OPERATORS[sign](values.astype(float), float(text)) & ~np.isnan(
            values.astype(float)))  # fmt: skip
    except ValueError as error:
        if sign not in ("==", "!="):
            message = f"where {condition!r} asks for an order of text; use == or !="
            raise ConfigError(message) from error
        return np.asarray(OPERATORS[sign](values.astype(str), text))


def parse_where(condition: str) -> tuple[str, str, str]:
    """Return column, comparison and value of a `where` condition.

    Raises:
        ConfigError: it is not of the form `column>=value`.
    """
    match = _WHERE.match(condition)
    if match is None:
        message = (
            f"cannot read where {condition!r}; write column>=value, with {' '.join(OPERATORS)}"
        )
        raise ConfigError(message)
    return match.group(1), match.group(2), match.group(3)
