"""Energy distance between perturbed and control cells, and its agreement over perturbations."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import Cells, CellsPair
from perturbkit.metrics.pearson import pearson_rows

BLOCK = 2**25
"""Values of a dense block: 128 MiB of float32."""
MIN_ROWS = 64


def dense(x_ng: Any, rows: np.ndarray, shift_g: np.ndarray) -> np.ndarray:
    """Some rows as float32, minus a shift; distances do not feel it, but rounding does."""
    block = x_ng[rows]
    block = block.toarray() if sparse.issparse(block) else np.array(block)
    block = block.astype(np.float32, copy=False)
    block -= shift_g
    return block


def sum_of_distances(x_nd: np.ndarray, y_md: np.ndarray) -> float:
    """Sum of the Euclidean distances of all pairs, by one matrix product."""
    square = x_nd @ y_md.T
    square *= -2
    square += np.einsum("nd,nd->n", x_nd, x_nd)[:, None]
    square += np.einsum("md,md->m", y_md, y_md)
    np.maximum(square, 0, out=square)
    return float(np.sqrt(square, out=square).sum(dtype=np.float64))


def sum_within(x_nd: np.ndarray) -> float:
    """Sum of the Euclidean distances of all ordered pairs of distinct rows."""
    square = x_nd @ x_nd.T
    norm = square.diagonal().copy()
    square *= -2
    square += norm[:, None]
    square += norm
    np.fill_diagonal(square, 0)
    np.maximum(square, 0, out=square)
    return float(np.sqrt(square, out=square).sum(dtype=np.float64))


def blocks(x_ng: Any, rows: np.ndarray, shift_g: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows in dense blocks of bounded size."""
    step = max(MIN_ROWS, BLOCK // max(len(shift_g), 1))
    for start in range(0, len(rows), step):
        yield dense(x_ng, rows[start : start + step], shift_g)


def energy_distances(
    cells: Cells, control: Cells, shift_g: np.ndarray, *, distinct: bool, within: float | None
) -> tuple[np.ndarray, float]:
    """Energy distance of each group of cells from a control.

    2 E|X - Y| - E|X - X'| - E|Y - Y'|, Euclidean, in memory for one dense block and one group.

    Args:
        cells: the groups.
        control: the cells of its group 0 are the control.
        shift_g: what is taken off all cells before the products, for precision; the control mean.
        distinct: whether means within a cloud are over distinct pairs (unbiased), or include the
            zero distances of cells to themselves, as cell-eval has them.
        within: mean distance within the control, where known already.

    Returns:
        Distances of the perturbations, [p], and the mean distance within the control.

    Source:
        Székely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.
    """
    shift = shift_g.astype(np.float32)
    controls = control.rows(0)
    n_c = len(controls)
    between, inside = np.zeros(cells.n_groups + 1), np.zeros(cells.n_groups + 1)
    own = 0.0
    known = list[np.ndarray]() if within is None else None
    for i, block in enumerate(blocks(control.x_ng, controls, shift)):
        if known is not None:
            own += sum_within(block) + 2 * sum(sum_of_distances(block, other) for other in known)
            # earlier blocks are kept only while a control has several of them
            known.append(block)
        for k in range(1, cells.n_groups + 1):
            group = dense(cells.x_ng, cells.rows(k), shift)
            between[k] += sum_of_distances(group, block)
            if i == 0:
                inside[k] = sum_within(group)
    if within is None:
        within = own / (n_c * max(n_c - 1, 1) if distinct else n_c * n_c)
    n_k = np.bincount(cells.code_n[cells.code_n >= 0], minlength=cells.n_groups + 1)
    pairs = n_k * np.maximum(n_k - 1, 1) if distinct else n_k * n_k
    result = 2 * between / (np.maximum(n_k, 1) * n_c) - inside / np.maximum(pairs, 1) - within
    return result[cells.group_p], within


def both_sides(pair: CellsPair) -> np.ndarray:
    """Energy distance from control of the measured and of the predicted cells, [p, 2]."""
    if "edistance" not in pair.cache:
        distinct, shift = not pair.compat, pair.truth_control_g
        if ("edistance", distinct) not in pair.truth.cache:
            pair.truth.cache["edistance", distinct] = energy_distances(
                pair.truth, pair.truth, shift, distinct=distinct, within=None
            )
        measured, within = pair.truth.cache["edistance", distinct]
        origin = pair.predicted if pair.compat else pair.truth
        predicted, _ = energy_distances(
            pair.predicted, origin, shift, distinct=distinct,
            within=None if pair.compat else within,
        )  # fmt: skip
        pair.cache["edistance"] = np.stack([measured, predicted], 1)
    return pair.cache["edistance"]


def pearson_of_columns(parts_pk: np.ndarray) -> float:
    """Correlation of measured and predicted distance over perturbations."""
    return float(pearson_rows(parts_pk[:, 0][None], parts_pk[:, 1][None])[0])


pearson_edistance = CellsCard(
    name="pearson_edistance",
    summary="correlation, over perturbations, of measured and predicted distance from control",
    source=(
        "cell-eval 0.8.2 `pearson_edistance`; here the measured control for both sides and means "
        "over distinct pairs, which a cell-eval mean over all pairs is not"
    ),
    fn=both_sides,
    pool=pearson_of_columns,
    better="higher",
    best=1.0,
    bounds=(-1.0, 1.0),
    undefined="distances from control do not vary over perturbations",
)
