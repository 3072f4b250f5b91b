"""Energy distance between perturbed and control cells, and its agreement over perturbations."""

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from scipy import sparse

from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.pair import Cells, CellsPair
from perturbkit.metrics.cells.rounded import Between, Rounded, corrected, worthwhile
from perturbkit.metrics.cells.rounded import between as to_control
from perturbkit.metrics.cells.rounded import within as within_group
from perturbkit.metrics.pearson import pearson_rows

BLOCK = 2**25
"""Values of a dense block: 128 MiB of float32."""
MIN_ROWS = 64
MOST_CONTROLS, MOST_BYTES = 2**13, 2**29
"""Controls beyond these are too large to be held at once in 8 bits, with their products."""


def take_rows(x_ng: Any, rows: np.ndarray) -> Any:
    """Some rows of a matrix; those that follow each other at once, which files read faster."""
    if len(rows) and (np.diff(rows) == 1).all():
        return x_ng[int(rows[0]) : int(rows[-1]) + 1]
    return x_ng[rows]


def dense(x_ng: Any, rows: np.ndarray, shift_g: np.ndarray) -> np.ndarray:
    """Some rows as float32, minus a shift; distances do not feel it, but rounding does."""
    block = take_rows(x_ng, rows)
    block = block.toarray() if sparse.issparse(block) else np.array(block)
    block = block.astype(np.float32, copy=False)
    block -= shift_g
    return block


def sum_of_distances(x_nd: np.ndarray, y_md: np.ndarray) -> float:
    """Sum of the Euclidean distances of all pairs, by one matrix product."""
    squares = [np.einsum("nd,nd->n", x, x, dtype=np.float64) for x in (x_nd, y_md)]
    return _sum_of_roots(x_nd @ y_md.T, squares[0], squares[1], distinct=False)


def sum_within(x_nd: np.ndarray) -> float:
    """Sum of the Euclidean distances of all ordered pairs of distinct rows."""
    product = x_nd @ x_nd.T
    square = product.diagonal().astype(np.float64)
    return _sum_of_roots(product, square, square, distinct=True)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _sum_of_roots(product, square_n, square_m, distinct):  # noqa: ANN001, ANN202
    total = 0.0
    for i in range(product.shape[0]):
        part = 0.0
        for j in range(product.shape[1]):
            gap = square_n[i] + square_m[j] - 2 * product[i, j]
            part += np.sqrt(max(gap, 0.0))
        if distinct:
            part -= np.sqrt(max(square_n[i] + square_m[i] - 2 * product[i, i], 0.0))
        total += part
    return total


def blocks(x_ng: Any, rows: np.ndarray, shift_g: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows in dense blocks of bounded size."""
    step = max(MIN_ROWS, BLOCK // max(len(shift_g), 1))
    for start in range(0, len(rows), step):
        yield dense(x_ng, rows[start : start + step], shift_g)


def energy_distances(
    cells: Cells, control: Cells, shift_g: np.ndarray, *, distinct: bool, within: float | None
) -> tuple[np.ndarray, float]:
    """Energy distance of each group of cells from a control.

    2 E|X - Y| - E|X - X'| - E|Y - Y'|, Euclidean.

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
    n_k = np.bincount(cells.code_n[cells.code_n >= 0], minlength=cells.n_groups + 1)
    n_c = len(control.rows(0))
    n_products = len(shift_g) * (n_c * n_k[1:].sum() + np.square(n_k[1:]).sum() + n_c**2)
    small = n_c <= MOST_CONTROLS and n_c * len(shift_g) <= MOST_BYTES
    sums = rounded_sums if small and worthwhile(float(n_products)) else float_sums
    between, inside, own = sums(cells, control, shift_g, want_own=within is None)
    if within is None:
        within = own / (n_c * max(n_c - 1, 1) if distinct else n_c * n_c)
    pairs = n_k * np.maximum(n_k - 1, 1) if distinct else n_k * n_k
    result = 2 * between / (np.maximum(n_k, 1) * n_c) - inside / np.maximum(pairs, 1) - within
    return result[cells.group_p], within


Sums = tuple[np.ndarray, np.ndarray, float]
"""Sums of distances: of each group to the control, within each group, within the control."""


def float_sums(cells: Cells, control: Cells, shift_g: np.ndarray, *, want_own: bool) -> Sums:
    """Sums of distances by float32 products, in memory for one dense block and one group."""
    shift = shift_g.astype(np.float32)
    between, inside = np.zeros(cells.n_groups + 1), np.zeros(cells.n_groups + 1)
    own, earlier = 0.0, list[np.ndarray]()
    for i, block in enumerate(blocks(control.x_ng, control.rows(0), shift)):
        if want_own:
            own += sum_within(block) + 2 * sum(sum_of_distances(block, other) for other in earlier)
            # earlier blocks are kept only while a control has several of them
            earlier.append(block)
        for k in range(1, cells.n_groups + 1):
            group = dense(cells.x_ng, cells.rows(k), shift)
            between[k] += sum_of_distances(group, block)
            if i == 0:
                inside[k] = sum_within(group)
    return between, inside, own


def rounded_sums(cells: Cells, control: Cells, shift_g: np.ndarray, *, want_own: bool) -> Sums:
    """`float_sums` by 8-bit products; what they cannot tell well is done in float32."""
    origin = Rounded.of(sparse.csr_matrix(take_rows(control.x_ng, control.rows(0))), shift_g)
    between, inside = np.zeros(cells.n_groups + 1), np.zeros(cells.n_groups + 1)
    parts, refused = dict[int, Between](), list[int]()
    for k in range(1, cells.n_groups + 1):
        if not len(cells.rows(k)):
            continue
        group = Rounded.of(sparse.csr_matrix(take_rows(cells.x_ng, cells.rows(k))), shift_g)
        part, total = to_control(group, origin), within_group(group)
        if part is None or total is None:
            refused.append(k)
        else:
            parts[k], inside[k] = part, total
    between[list(parts)] = corrected(list(parts.values()), origin)
    own = within_group(origin) if want_own else 0.0
    if refused or own is None:
        kept = np.isin(cells.code_n, refused)
        code = np.searchsorted(refused, cells.code_n) + 1
        rest = Cells(cells.x_ng, np.where(kept, code, -1), np.arange(1, len(refused) + 1))
        sums = float_sums(rest, control, shift_g, want_own=own is None)
        between[refused], inside[refused] = sums[0][1:], sums[1][1:]
        own = sums[2] if own is None else own
    return between, inside, own


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
