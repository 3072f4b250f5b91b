"""Lagged correlation: which gene's past goes with which gene's present, from time series."""

import numpy as np

from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.grn.assemble import graph_of_scores


def lagged_correlation(series_stg: np.ndarray, lag: int = 1) -> np.ndarray:
    """Return the correlation of each readout with each other one `lag` steps later, [g, g].

    Args:
        series_stg: series by time points by readouts; each series is centred on its own mean.
        lag: steps between regulator and target, at least 1.

    Raises:
        SchemaError: fewer time points than lags.
    """
    if series_stg.ndim != 3 or not 1 <= lag < series_stg.shape[1]:
        message = (
            f"series have the shape {series_stg.shape} and the lag is {lag}; needed are series x "
            "time points x readouts with more time points than lags"
        )
        raise SchemaError(message)
    g = series_stg.shape[2]
    centred = series_stg - series_stg.mean(1, keepdims=True)
    before, after = centred[:, :-lag].reshape(-1, g), centred[:, lag:].reshape(-1, g)
    before, after = before - before.mean(0), after - after.mean(0)
    size = np.outer(np.sqrt((before**2).sum(0)), np.sqrt((after**2).sum(0)))
    return np.divide(before.T @ after, size, out=np.zeros((g, g)), where=size > 0)


def lagged(series_stg: np.ndarray, readouts: Vocabulary) -> Graph:
    """Return an edge for each ordered pair of readouts, weighted by its lagged correlation.

    Source:
        Lag-one cross-correlation; see Marbach et al. 2010, doi:10.1073/pnas.0913357107, for time
        series in the DREAM challenges.
    """
    score = lagged_correlation(series_stg)
    return graph_of_scores(score, readouts, readouts, name="lagged")
