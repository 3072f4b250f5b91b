"""Kernels of closed-form models: leading directions, and ridge judged by leaving one out."""

import numpy as np
from scipy.linalg import eigh

_EXACT = 600
"""Up to this many rows or columns the directions are exact; beyond it a random sketch finds them"""


def leading_directions(x_rg: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the leading right singular vectors of `x_rg`, float32 [n or fewer, g], signs fixed.

    Exact by the smaller Gram matrix, or beyond 600 rows and columns a randomized sketch with
    three power iterations. Directions without variance are left out. The largest entry of each
    direction is positive.

    Source:
        Halko, Martinsson & Tropp 2011, doi:10.1137/090771806, algorithm 4.4.
    """
    n = min(n, *x_rg.shape)
    x = np.asarray(x_rg, np.float64)
    if min(x.shape) > _EXACT:
        basis = np.linalg.qr(x.T @ (x @ rng.standard_normal((x.shape[1], n + 10))))[0]
        for _ in range(3):
            basis = np.linalg.qr(x.T @ np.linalg.qr(x @ basis)[0])[0]
        _, size, right = np.linalg.svd(x @ basis, full_matrices=False)
        size, right = size**2, right @ basis.T
    elif x.shape[0] <= x.shape[1]:
        size, left = np.linalg.eigh(x @ x.T)
        right = (left / np.sqrt(np.maximum(size, 1e-300))).T @ x
        size, right = size[::-1], right[::-1]
    else:
        size, vectors = np.linalg.eigh(x.T @ x)
        size, right = size[::-1], vectors.T[::-1]
    kept = right[:n][size[:n] > max(size[0], 1e-30) * 1e-10]
    peak = np.take_along_axis(kept, np.abs(kept).argmax(1)[:, None], 1)
    return (kept * np.sign(peak)).astype(np.float32)


def leading_sums(gram_rr: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the leading directions of rows, of length 1, as sums of the rows, [n, rows].

    Exact for up to 600 rows; beyond that by four subspace iterations from a random start.
    """
    n = min(n, len(gram_rr))
    if len(gram_rr) <= _EXACT:
        top = (len(gram_rr) - n, len(gram_rr) - 1)
        size, vectors = eigh(gram_rr, subset_by_index=top)
    else:
        basis = rng.standard_normal((len(gram_rr), n + 10))
        for _ in range(4):
            basis = np.linalg.qr(gram_rr @ basis)[0]
        size, inner = np.linalg.eigh(basis.T @ gram_rr @ basis)
        vectors = basis @ inner
    size, vectors = size[::-1][:n], vectors[:, ::-1][:, :n]
    kept = size > max(size[0], 1e-30) * 1e-10
    return (vectors[:, kept] / np.sqrt(size[kept])).T


def centred(gram_pp: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the Gram matrix of features minus the mean feature of `rows`."""
    to_mean = gram_pp[:, rows].mean(1)
    return gram_pp - to_mean[:, None] - to_mean[None] + to_mean[rows].mean()


class RidgePath:
    """Kernel ridge with intercept at any penalty, from one eigendecomposition.

    Predict by `gram_with_training @ dual_nr(ridge) + mean_r`, with features centred on those of
    the training rows.

    Args:
        gram_nn: Gram matrix of centred features.
        target_nr: targets, any number of columns.
    """

    def __init__(self, gram_nn: np.ndarray, target_nr: np.ndarray) -> None:
        size, self.vectors = np.linalg.eigh(gram_nn)
        self.size = np.maximum(size, 0)
        self.unit = max(float(self.size.mean()), 1e-30)
        self.mean_r = target_nr.mean(0)
        self.rotated = self.vectors.T @ (target_nr - self.mean_r)

    def dual_nr(self, ridge: float) -> np.ndarray:
        """Return the dual weights at a penalty in units of the mean eigenvalue."""
        return self.vectors @ (self.rotated / (self.size + ridge * self.unit)[:, None])

    def missed_nr(self, ridge: float) -> np.ndarray:
        """Return measured minus predicted, each row predicted by a fit without it.

        Exact: residual / (1 - H_ii), with H the hat matrix of ridge and intercept.
        """
        left = ridge * self.unit / (self.size + ridge * self.unit)
        residual = self.vectors @ (left[:, None] * self.rotated)
        kept = self.vectors**2 @ left - 1 / len(self.size)
        return residual / np.maximum(kept, 1e-9)[:, None]

    def errors(self, ridges: tuple[float, ...]) -> np.ndarray:
        """Return the squared error of leaving one out at each penalty."""
        return np.array([np.square(self.missed_nr(r)).sum() for r in ridges])


def slope(predictor: np.ndarray, target: np.ndarray) -> float:
    """Return the least-squares slope through the origin, held within 0 and 1."""
    power = float((predictor * predictor).sum())
    return float(np.clip((predictor * target).sum() / power, 0, 1)) if power > 0 else 0.0
