"""Sums of Euclidean distances from products of 8-bit integers, with the rounding taken off again.

A distance needs the product of two cells. Rounded to 8 bits, products of many cells run four times
as fast as in float32. What rounding does to a product is mostly its effect on the product with the
mean cell, which is taken off each cell. What it does to the sum is, to first order, a sum over
pairs of (product of the rounding with the rest of a cell) / distance, and since distances between
cells of two groups differ little, 1 / distance is nearly a row factor times a column factor, which
turns the sum over pairs into one product of two sums over cells. What is left is of second order
and is estimated; where it is not small (cells that are nearly equal), None is returned.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from scipy import sparse

MIN_PRODUCTS = 10**11
"""Fewer multiplications are not worth loading torch."""
DOUBT = 5e-7
"""Estimated relative error of a sum beyond which it is refused."""
STEP = 256
"""Rows of a group that are dense at a time where sums over them are taken."""


@dataclass(frozen=True, eq=False)
class Rounded:
    """Cells [n, g] in 8 bits: x is about `scale_n * q_ng`."""

    x_ng: sparse.csr_matrix
    """the cells as they are, float32"""
    q_data: np.ndarray
    """8-bit integers, aligned with the stored values of `x_ng`"""
    q_ng: Any
    """the same, a dense torch tensor"""
    scale_n: np.ndarray
    """what the integers of a row are multiplied by, float64"""
    square_n: np.ndarray
    """squared length of each cell as it is, less twice its rounding's product with the centre"""
    centre_g: np.ndarray
    """a typical cell, float64"""

    @classmethod
    def of(cls, x_ng: sparse.csr_matrix, centre_g: np.ndarray) -> "Rounded":
        """Round each cell to its own scale; zero stays zero."""
        import torch

        n = x_ng.shape[0]
        scale, square = np.zeros(n), np.zeros(n)
        q_data = np.zeros(len(x_ng.data), np.int8)
        q_ng = np.zeros(x_ng.shape, np.int8)
        centre = np.ascontiguousarray(centre_g, np.float64)
        _round(x_ng.data, x_ng.indices, x_ng.indptr, centre, scale, square, q_data, q_ng)
        return cls(x_ng, q_data, torch.from_numpy(q_ng), scale, square, centre)

    def sums(self, weight_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted sums over cells: of the cells, and of what rounding took off, float64 [g]."""
        x, left = np.zeros(self.x_ng.shape[1]), np.zeros(self.x_ng.shape[1])
        _sums(
            self.x_ng.data, self.x_ng.indices, self.x_ng.indptr, self.q_data, self.scale_n,
            weight_n, x, left,
        )  # fmt: skip
        return x, left

    def many_sums(self, weight_kn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`sums` for many weightings, [k, g] each."""
        shape = (len(weight_kn), self.x_ng.shape[1])
        x, left = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        weight = weight_kn.astype(np.float32)
        scale = self.scale_n.astype(np.float32)
        for start in range(0, self.x_ng.shape[0], STEP):
            rows = slice(start, start + STEP)
            block = self.x_ng[rows].toarray()
            x += weight[:, rows] @ block
            block -= self.q_ng[rows].numpy() * scale[rows, None]
            left += weight[:, rows] @ block
        return x, left


def worthwhile(n_products: float) -> bool:
    """Whether that many multiplications are better done in 8 bits, and can be."""
    if n_products < MIN_PRODUCTS:
        return False
    import torch

    return hasattr(torch, "_int_mm")


@dataclass(eq=False)
class Between:
    """Sum of the distances between a group and the control, before its correction."""

    total: float
    """sum over pairs of the rounded distances"""
    x_g: np.ndarray
    """cells of the group, weighted, summed"""
    left_g: np.ndarray
    """what rounding took off them"""
    weight_m: np.ndarray
    """weight of each control cell"""
    inverse: float
    """sum over pairs of 1 / distance"""


def between(group: Rounded, control: Rounded) -> Between | None:
    """Distances of all pairs of a group and the control; None where rounding tells too little."""
    import torch

    product = torch._int_mm(group.q_ng, control.q_ng.T).numpy()
    row, column = np.zeros(product.shape[0]), np.zeros(product.shape[1])
    total, doubt = _distances(
        product, group.scale_n, control.scale_n, group.square_n, control.square_n, row, column,
        distinct=False,
    )  # fmt: skip
    if not doubt <= DOUBT * total:
        return None
    x, left = group.sums(row)
    return Between(total, x, left, column, float(row.sum()))


def corrected(parts: list[Between], control: Rounded) -> list[float]:
    """Sums of distances with the first order of rounding taken off, for all groups at once."""
    y, left_y = control.many_sums(np.array([p.weight_m for p in parts]))
    totals = []
    for part, y_g, left_g in zip(parts, y, left_y, strict=True):
        # x y - x~ y~ = (x - x~) y + x~ (y - y~), y and x~ without the centre
        centre = part.inverse * control.centre_g
        gap = part.left_g @ (y_g - centre) + (part.x_g - part.left_g - centre) @ left_g
        totals.append(part.total - float(gap) / part.inverse)
    return totals


def within(group: Rounded) -> float | None:
    """Sum of the distances of all ordered pairs of distinct cells; None as in `between`."""
    import torch

    product = torch._int_mm(group.q_ng, group.q_ng.T).numpy()
    row, column = np.zeros(len(product)), np.zeros(len(product))
    total, doubt = _distances(
        product,
        group.scale_n,
        group.scale_n,
        group.square_n,
        group.square_n,
        row,
        column,
        distinct=True,
    )
    if not doubt <= DOUBT * total:
        return None
    x, left = group.sums(row)
    centre = row.sum() * group.centre_g
    gap = left @ (x - centre) + (x - left - centre) @ left
    # a cell is no pair with itself
    own = group.square_n - np.square(group.scale_n) * product.diagonal()
    gap -= float((own * np.square(row)).sum())
    inverse = float(row.sum())
    return total - float(gap) * inverse / (inverse**2 - float(np.square(row).sum()))


@numba.njit(cache=True, nogil=True)
def _round(data, indices, indptr, centre, scale, square, q_data, q_ng):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    for i in range(len(indptr) - 1):
        largest, total = 0.0, 0.0
        for at in range(indptr[i], indptr[i + 1]):
            value = float(data[at])
            largest = max(largest, abs(value))
            total += value * value
        square[i], scale[i] = total, largest / 127
        if largest == 0:
            continue
        inverse = 127 / largest
        both, own = 0.0, 0.0
        for at in range(indptr[i], indptr[i + 1]):
            q = np.int8(np.rint(data[at] * inverse))
            q_data[at] = q
            q_ng[i, indices[at]] = q
            both += float(data[at]) * q
            own += float(q) * q
        # least squares: a cell has few distinct values, whose rounding would else go one way
        scale[i] = both / own
        for at in range(indptr[i], indptr[i + 1]):
            square[i] -= 2 * (data[at] - scale[i] * q_data[at]) * centre[indices[at]]


@numba.njit(cache=True, nogil=True)
def _sums(data, indices, indptr, q_data, scale, weight, x, left):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    for i in range(len(indptr) - 1):
        w, s = weight[i], scale[i]
        for at in range(indptr[i], indptr[i + 1]):
            value = float(data[at])
            x[indices[at]] += w * value
            left[indices[at]] += w * (value - s * q_data[at])


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _distances(product, scale_n, scale_m, square_n, square_m, row, column, distinct):  # noqa: ANN001, ANN202, PLR0913, PLR0917
    """Sum of the distances, and of the estimates of their second-order errors.

    The rounding of a value has a variance of step^2 / 12, so that of a squared distance has one of
    (step of the one * length of the other)^2 / 3 each way, and the root bends by 1 / (8 d^3).
    """
    total, doubt = 0.0, 0.0
    for i in range(product.shape[0]):
        s, n = scale_n[i], square_n[i]
        part, uncertain, inverses = 0.0, 0.0, 0.0
        for j in range(product.shape[1]):
            if distinct and i == j:
                continue
            gap = n + square_m[j] - 2 * s * scale_m[j] * product[i, j]
            distance = np.sqrt(max(gap, 1e-12))
            inverse = 1 / distance
            part += distance
            inverses += inverse
            column[j] += inverse
            variance = s * s * square_m[j] + scale_m[j] * scale_m[j] * n
            uncertain += variance * inverse * inverse * inverse
        total += part
        row[i] = inverses
        doubt += uncertain / 24
    return total, doubt
