"""GEARS' scores on the 20 readouts that change most."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair
from perturbkit.metrics.pearson import pearson_rows
from perturbkit.metrics.rmse import mean_measured

TOP = 20


def strongest(pair: Pair, *, expressed: bool) -> np.ndarray:
    """Positions of the 20 readouts with the largest measured change, [c, 20]; -1 for too few.

    Args:
        pair: truth and prediction.
        expressed: whether readouts that are zero in the control or in the measured mean are left
            out (GEARS' non-dropout genes).
    """
    size = np.abs(pair.truth_delta_cg)
    if expressed:
        size = np.where((pair.truth_cg != 0) & (pair.control_cg != 0), size, np.nan)
    size = np.where(np.isnan(size), -1.0, size)
    k = min(TOP, size.shape[1])
    order = np.argsort(-size, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(size, order, 1) >= 0
    return np.where(found.all(1, keepdims=True) & (k == TOP), order, -1)


def at(x_cg: np.ndarray, position_ck: np.ndarray) -> np.ndarray:
    """Values at the positions, NaN for rows without any."""
    values = np.take_along_axis(x_cg, np.maximum(position_ck, 0), 1)
    return np.where(position_ck >= 0, values, np.nan)


def squared_error(pair: Pair, *, expressed: bool) -> np.ndarray:
    """Mean squared error over the readouts that change most."""
    top = strongest(pair, expressed=expressed)
    return mean_measured(np.square(at(pair.predicted_cg, top) - at(pair.truth_cg, top)))


def correlation(pair: Pair, *, expressed: bool) -> np.ndarray:
    """Correlation of change over the readouts that change most."""
    top = strongest(pair, expressed=expressed)
    return pearson_rows(at(pair.truth_delta_cg, top), at(pair.predicted_delta_cg, top))


def opposite_direction(pair: Pair, *, expressed: bool) -> np.ndarray:
    """Share of the readouts that change most whose predicted change has the opposite sign."""
    top = strongest(pair, expressed=expressed)
    product = at(pair.truth_delta_cg, top) * at(pair.predicted_delta_cg, top)
    return mean_measured(np.where(np.isnan(product), np.nan, product < 0))


def _card(name: str, summary: str, fn: Callable[..., np.ndarray], **options: Any) -> MetricCard:
    return MetricCard(
        name=name,
        summary=summary,
        source=(
            "GEARS (Roohani et al. 2023); strongest by absolute change of the mean, where GEARS "
            "takes a rank test of cells"
        ),
        fn=fn,
        undefined=f"fewer than {TOP} readouts were measured (or are expressed)",
        **options,
    )


_ERROR = {"better": "lower", "best": 0.0, "bounds": (0.0, np.inf), "unit": "readout squared",
          "ceiling": "squared_error"}  # fmt: skip
_SHARE = {"better": "lower", "best": 0.0, "bounds": (0.0, 1.0)}
mse_top20 = _card("mse_top20", "mean squared error over the 20 readouts that change most",
                  partial(squared_error, expressed=False), **_ERROR)  # fmt: skip
mse_top20_expressed = _card(
    "mse_top20_expressed", "the same over readouts expressed in control and after perturbation",
    partial(squared_error, expressed=True), **_ERROR,
)  # fmt: skip
pearson_delta_top20 = _card(
    "pearson_delta_top20", "correlation of change over the 20 readouts that change most",
    partial(correlation, expressed=False), better="higher", best=1.0, bounds=(-1.0, 1.0),
    ceiling="correlation",
)  # fmt: skip
opposite_top20 = _card(
    "opposite_top20", "share of the 20 readouts that change most predicted the wrong way",
    partial(opposite_direction, expressed=False), **_SHARE,
)  # fmt: skip
opposite_top20_expressed = _card(
    "opposite_top20_expressed", "the same over readouts expressed in control and perturbed",
    partial(opposite_direction, expressed=True), **_SHARE,
)  # fmt: skip
