"""PerturBench's aggregations that need cells: test scores, p-values and variances of genes."""

from functools import partial
from typing import Literal

import numpy as np

from perturbkit.data.stats import group_stats
from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import Cells, CellsPair
from perturbkit.metrics.pearson import pearson_rows
from perturbkit.metrics.perturbench import cosine_rows

Aggregation = Literal["scores", "logp", "var"]
SMALLEST_P = 1e-300
"""Below it a p-value counts as this."""


def aggregated(pair: CellsPair, aggregation: Aggregation) -> tuple[np.ndarray, np.ndarray]:
    """Measured and predicted value of each gene, [p, g] float64.

    `scores` are the z of the rank sum against control, `logp` -log10 of its p-value, `var` the
    variance of the log-normalized values.
    """
    if aggregation == "var":
        return _variance(pair.truth), _variance(pair.predicted)
    tables = pair.truth_de, pair.predicted_de
    if aggregation == "scores":
        return tables[0].z_pg.astype(np.float64), tables[1].z_pg.astype(np.float64)
    logs = [-np.log10(np.maximum(t.p_value_pg, SMALLEST_P)) for t in tables]
    return logs[0], logs[1]


def _variance(cells: Cells) -> np.ndarray:
    if "variance" not in cells.cache:
        stats = group_stats(cells.x_ng, cells.code_n, cells.n_groups + 1)
        # one cell has no spread, whose variance is taken as none
        cells.cache["variance"] = np.nan_to_num(stats.var_kg)
    return cells.cache["variance"][cells.group_p]


def cosine_of(pair: CellsPair, aggregation: Aggregation) -> np.ndarray:
    """Cosine of measured and predicted values over genes."""
    return cosine_rows(*aggregated(pair, aggregation))


def pearson_of(pair: CellsPair, aggregation: Aggregation) -> np.ndarray:
    """Correlation of measured and predicted values over genes."""
    return pearson_rows(*aggregated(pair, aggregation))


def rmse_of(pair: CellsPair, aggregation: Aggregation) -> np.ndarray:
    """Root mean squared difference of measured and predicted values over genes."""
    truth, predicted = aggregated(pair, aggregation)
    return np.sqrt(np.square(predicted - truth).mean(1))


_WORDS = {"scores": "rank-sum scores of genes", "logp": "-log10 p-values of genes",
          "var": "variances of genes over cells"}  # fmt: skip
_SOURCE = "PerturBench (arXiv:2408.10609), with the measured control as origin of both sides"


def _agreement(kind: Literal["cosine", "pearson"], aggregation: Aggregation) -> CellsCard:
    fn = cosine_of if kind == "cosine" else pearson_of
    word = "cosine" if kind == "cosine" else "correlation"
    return CellsCard(
        name=f"{kind}_{aggregation}", summary=f"{word} of the {_WORDS[aggregation]}",
        source=_SOURCE, fn=partial(fn, aggregation=aggregation), better="higher", best=1.0,
        bounds=(-1.0, 1.0), profiles=frozenset({"perturbench"}),
        undefined="the measured values do not vary over genes",
    )  # fmt: skip


def _error(aggregation: Aggregation) -> CellsCard:
    return CellsCard(
        name=f"rmse_{aggregation}",
        summary=f"root mean squared error of the {_WORDS[aggregation]}", source=_SOURCE,
        fn=partial(rmse_of, aggregation=aggregation), better="lower", best=0.0,
        bounds=(0.0, np.inf), profiles=frozenset({"perturbench"}),
    )  # fmt: skip


cosine_scores = _agreement("cosine", "scores")
pearson_scores = _agreement("pearson", "scores")
rmse_scores = _error("scores")
cosine_logp = _agreement("cosine", "logp")
pearson_logp = _agreement("pearson", "logp")
rmse_logp = _error("logp")
cosine_var = _agreement("cosine", "var")
pearson_var = _agreement("pearson", "var")
rmse_var = _error("var")
