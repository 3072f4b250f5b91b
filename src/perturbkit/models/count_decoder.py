"""From predicted changes of means to cells with whole counts: the negative-binomial decoder."""

from dataclasses import dataclass
from typing import Self

import numpy as np

_FOLDS = np.linspace(-4.0, 4.0, 25)
"""natural logs of the folds that the response of the mean is computed at"""


@dataclass(frozen=True, eq=False)
class CountDecoder:
    """Moves control cells by fold changes of their rates, and draws counts.

    A control count c is Poisson(l) with l ~ Gamma of mean `rate_g` and shape 1 / `dispersion_g`.
    A fold below 1 keeps each molecule with that chance; one above adds Poisson((fold - 1) l) with
    l drawn from its posterior given c. Either is exact for negative-binomial counts, and keeps
    what is particular to each cell. Counts are of the steps of a cell: its smallest value above 0
    after expm1, which is one molecule where the values are log-normalised counts.
    """

    dispersion_g: np.ndarray
    rate_g: np.ndarray
    """mean of expm1 of the control cells"""
    response_fg: np.ndarray
    """mean log value of the control cells at each of `_FOLDS`, rising"""

    @classmethod
    def of(
        cls, x_ng: np.ndarray, rng: np.random.Generator, dispersion_g: np.ndarray | None = None
    ) -> Self:
        """Learn from the control cells of one context, log1p values [n, g].

        Args:
            x_ng: the cells.
            rng: draws the cells that the response of the mean is computed from.
            dispersion_g: known dispersions; by default the moments of the cells' counts.
        """
        linear = np.expm1(x_ng)
        step = steps(x_ng)
        counts = np.rint(linear / step)
        dispersion = dispersion_g
        if dispersion is None:
            mean = counts.mean(0)
            extra = counts.var(0) - mean
            dispersion = np.clip(extra / np.maximum(mean, 1e-6) ** 2, 0.01, 5.0).astype(np.float32)
        rate = linear.mean(0).astype(np.float32)
        decoder = cls(dispersion, rate, np.zeros((len(_FOLDS), x_ng.shape[1]), np.float32))
        for i, fold in enumerate(_FOLDS):
            folds = np.full((1, x_ng.shape[1]), np.exp(fold), np.float32)
            decoder.response_fg[i] = decoder._draw(x_ng, folds, rng).mean(0)
        # chance may break the order; a mean rises with the fold
        np.maximum.accumulate(decoder.response_fg, 0, out=decoder.response_fg)
        return decoder

    def draw(self, x_ng: np.ndarray, delta_ng: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return moved cells, float32 [n, g].

        Args:
            x_ng: control cells, log1p values.
            delta_ng: the change of the mean log value that each cell's fold is to give.
            rng: draws the counts.
        """
        zero = self.response_fg[len(_FOLDS) // 2]
        wanted = zero + delta_ng
        folds = np.empty_like(delta_ng)
        for g in range(delta_ng.shape[1]):
            curve = self.response_fg[:, g] + np.arange(len(_FOLDS)) * 1e-7
            folds[:, g] = np.interp(wanted[:, g], curve, _FOLDS)
        return self._draw(x_ng, np.exp(folds), rng)

    def _draw(self, x_ng: np.ndarray, fold_ng: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        step = steps(x_ng)
        counts = np.rint(np.expm1(x_ng) / step).astype(np.int64)
        fold = np.broadcast_to(fold_ng, counts.shape)
        moved = counts.copy()
        down = (fold < 1) & (counts > 0)
        moved[down] = rng.binomial(counts[down], fold[down])
        up = (fold > 1) & (self.rate_g > 0)
        shape = 1 / np.broadcast_to(self.dispersion_g, counts.shape)[up] + counts[up]
        mean = np.broadcast_to(self.rate_g / step, counts.shape)[up]
        posterior = mean / (1 + np.broadcast_to(self.dispersion_g, counts.shape)[up] * mean)
        scale = posterior * np.broadcast_to(self.dispersion_g, counts.shape)[up]
        moved[up] += rng.poisson((fold[up] - 1) * rng.gamma(shape, scale))
        return np.log1p(moved * step).astype(np.float32)


def steps(x_ng: np.ndarray) -> np.ndarray:
    """Return the value of one molecule in each cell, [n, 1]: its smallest expm1 above 0."""
    linear = np.expm1(x_ng)
    smallest = np.where(linear > 1e-6, linear, np.inf).min(1, keepdims=True)
    return np.where(np.isfinite(smallest), smallest, 1.0)
