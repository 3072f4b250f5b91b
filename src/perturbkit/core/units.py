"""The units readouts come in, and the check that values can be in the unit they claim."""

from typing import Literal, get_args

import numpy as np
from scipy import sparse

from perturbkit.core.errors import UnitError

Unit = Literal["counts", "log1p_cp10k", "log2fc", "zscore", "signed_rank", "score"]
UNITS: tuple[str, ...] = get_args(Unit)
RELATIVE_UNITS = frozenset({"log2fc", "zscore", "signed_rank"})
"""Units that already say the change against control: their control is zero by definition."""

MAX_LOG = 20.0
"""log1p of 10,000 is 9.2; nothing normalized to counts per 10 k and logged goes near this."""


def stored_values(x_ng: np.ndarray | sparse.spmatrix | sparse.sparray) -> np.ndarray:
    """Return the values of a dense or the stored values of a sparse matrix, flat."""
    return np.asarray(x_ng.data if sparse.issparse(x_ng) else x_ng).ravel()


def check_unit(x_ng: np.ndarray | sparse.spmatrix, unit: str, *, allow_nan: bool) -> None:
    """Refuse values that cannot be in `unit`.

    Args:
        x_ng: the matrix, dense or sparse.
        unit: one of UNITS.
        allow_nan: whether NaN stands for "not measured" (profiles) or is a fault (cells).

    Raises:
        UnitError: unknown unit, infinite or missing values, negatives, fractions among counts,
            logs too large, ranks outside [-1, 1].
    """
    if unit not in UNITS:
        message = f"unit {unit!r} is not known; it is one of {', '.join(UNITS)}"
        raise UnitError(message)
    values = stored_values(x_ng)
    n_nan = int(np.isnan(values).sum())
    if n_nan and not allow_nan:
        message = f"found {n_nan:,} missing values (NaN) among cells; remove or impute them"
        raise UnitError(message)
    if n_nan:
        values = values[~np.isnan(values)]
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        n = int((~np.isfinite(values)).sum())
        message = f"found {n:,} infinite values; every value must be finite: remove those rows"
        raise UnitError(message)
    fault = _unit_fault(values, low, high, unit)
    if fault:
        raise UnitError(fault)


def _unit_fault(values: np.ndarray, low: float, high: float, unit: str) -> str:
    """Return the sentence on what contradicts the unit, or nothing."""
    if unit in ("counts", "log1p_cp10k") and low < 0:
        return (
            f"found negative values (down to {low:.3g}), which {unit} cannot have; "
            "state unit zscore or log2fc if the data are already scaled"
        )
    if unit == "counts" and not np.array_equal(values, np.rint(values)):
        share = float(np.mean(values != np.rint(values)))
        return (
            f"found {share:.0%} fractional values, and counts are whole; "
            "state unit log1p_cp10k if the data are log-normalized"
        )
    if unit == "log1p_cp10k" and high > MAX_LOG:
        return (
            f"found values up to {high:,.4g}, too large for log1p of counts per 10 k; "
            "state unit counts if the data are raw"
        )
    if unit == "signed_rank" and max(-low, high) > 1 + 1e-4:
        return f"found values in [{low:.3g}, {high:.3g}]; signed ranks lie in [-1, 1]"
    return ""
