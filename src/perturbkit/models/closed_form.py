"""Kernels of closed-form models: leading directions, and ridge judged by leaving one out."""

from dataclasses import dataclass

import numpy as np

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


def centred(gram_pp: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the Gram matrix of features minus the mean feature of `rows`."""
    to_mean = gram_pp[:, rows].mean(1)
    return gram_pp - to_mean[:, None] - to_mean[None] + to_mean[rows].mean()


@dataclass(frozen=True)
class KernelRidge:
    """A kernel ridge with intercept, at the penalty that predicts best what is left out."""

    ridge: float
    """the penalty, in units of the mean eigenvalue of the Gram matrix"""
    dual_nr: np.ndarray
    """predict by `gram_with_training @ dual_nr + mean_r`"""
    mean_r: np.ndarray
    """the intercept: mean of the targets"""
    left_out_nr: np.ndarray
    """prediction of each training row by a fit without it"""


def kernel_ridge(
    gram_nn: np.ndarray, target_nr: np.ndarray, ridges: tuple[float, ...]
) -> KernelRidge:
    """Fit at each penalty and keep the one with the smallest leave-one-out squared error.

    The leave-one-out errors are exact: residual / (1 - H_ii), H the hat matrix with intercept.

    Args:
        gram_nn: Gram matrix of centred features.
        target_nr: targets, any number of columns; one penalty serves all.
        ridges: penalties to try, in units of the mean eigenvalue.
    """
    mean_r = target_nr.mean(0)
    size, vectors = np.linalg.eigh(gram_nn)
    size = np.maximum(size, 0)
    unit = max(size.mean(), 1e-30)
    rotated = vectors.T @ (target_nr - mean_r)
    best, lowest = None, np.inf
    for ridge in ridges:
        kept = 1 / (size + ridge * unit)
        left = vectors @ ((ridge * unit * kept)[:, None] * rotated)
        hat = 1 - vectors**2 @ (ridge * unit * kept) + 1 / len(gram_nn)
        left /= np.maximum(1 - hat, 1e-9)[:, None]
        error = float((left**2).sum())
        if best is None or error < lowest:
            best, lowest = (ridge, kept, left), error
    assert best is not None, "kernel_ridge needs at least one penalty"
    ridge, kept, left = best
    return KernelRidge(ridge, vectors @ (kept[:, None] * rotated), mean_r, target_nr - left)


def slope(predictor: np.ndarray, target: np.ndarray) -> float:
    """Return the least-squares slope through the origin, held within 0 and 1."""
    power = float((predictor * predictor).sum())
    return float(np.clip((predictor * target).sum() / power, 0, 1)) if power > 0 else 0.0
