"""Errors and correlation of the mean of each perturbation's cells."""

import numpy as np

from perturbkit.metrics.card import Ceiling
from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import CellsPair
from perturbkit.metrics.pearson import pearson_rows


def mean_square(pair: CellsPair) -> np.ndarray:
    """Mean squared difference of mean expression."""
    return np.square(pair.predicted.bulk_pg - pair.truth.bulk_pg).mean(1)


def mean_absolute(pair: CellsPair) -> np.ndarray:
    """Mean absolute difference of mean expression."""
    return np.abs(pair.predicted.bulk_pg - pair.truth.bulk_pg).mean(1)


def mean_square_delta(pair: CellsPair) -> np.ndarray:
    """Mean squared difference of mean change."""
    return np.square(pair.predicted_delta_pg - pair.truth_delta_pg).mean(1)


def mean_absolute_delta(pair: CellsPair) -> np.ndarray:
    """Mean absolute difference of mean change."""
    return np.abs(pair.predicted_delta_pg - pair.truth_delta_pg).mean(1)


def pearson_of_delta(pair: CellsPair) -> np.ndarray:
    """Correlation of mean change; no change at all scores 0 (NaN by cell-eval's rules)."""
    r = pearson_rows(pair.truth_delta_pg, pair.predicted_delta_pg)
    if pair.compat:
        r = np.where(np.ptp(pair.predicted_delta_pg, axis=1) == 0, np.nan, r)
    return r


def _error(name: str, words: str, fn, ceiling: Ceiling, profiles: set[str]) -> CellsCard:  # noqa: ANN001
    return CellsCard(
        name=name,
        summary=words,
        source=f"cell-eval 0.8.2 `{name}`; not clipped anywhere",
        fn=fn,
        better="lower",
        best=0.0,
        bounds=(0.0, np.inf),
        profiles=frozenset({"full", *profiles}),
        ceiling=ceiling,
    )


mse = _error("mse", "mean squared error of mean expression", mean_square, "squared_error",
             {"minimal"})  # fmt: skip
mae = _error("mae", "mean absolute error of mean expression", mean_absolute, "error",
             {"minimal", "vcc"})  # fmt: skip
mse_delta = _error("mse_delta", "mean squared error of mean change", mean_square_delta,
                   "squared_error", set())  # fmt: skip
mae_delta = _error("mae_delta", "mean absolute error of mean change", mean_absolute_delta,
                   "error", set())  # fmt: skip
pearson_delta = CellsCard(
    name="pearson_delta",
    summary="Pearson correlation of mean change against control",
    source="cell-eval 0.8.2, with the measured control as origin of both sides",
    fn=pearson_of_delta,
    better="higher",
    best=1.0,
    bounds=(-1.0, 1.0),
    profiles=frozenset({"full", "minimal"}),
    undefined="the mean change does not vary over genes",
    ceiling="correlation",
)
