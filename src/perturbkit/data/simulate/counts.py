"""Counts of cells: negative binomial around expected expression, library sizes, batches."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from perturbkit.data.simulate.settings import CellConfig

BLOCK_VALUES = 2_000_000
"""Values drawn at once; the block size decides which draw goes to which cell, so it is fixed."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Which expected profile each cell has, and what disturbs its counts."""

    row: np.ndarray
    """int64 [n], position in the expected profiles"""
    batch: np.ndarray
    """int64 [n], position in the batch factors"""
    total: np.ndarray
    """float64 [n], expected counts"""


def library_sizes(config: CellConfig, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the expected counts of n cells, log-normal with the mean of the settings."""
    spread = config.umi_sd
    return config.umi * np.exp(spread * rng.standard_normal(n) - spread**2 / 2)


def batch_factors(
    config: CellConfig, n_batches: int, n_genes: int, rng: np.random.Generator
) -> np.ndarray:
    """Return how much more or less of each gene each batch captures, float64 [batches, g]."""
    spread = config.batch_sd
    return np.exp(spread * rng.standard_normal((n_batches, n_genes)) - spread**2 / 2)


def programme_loadings(config: CellConfig, n_genes: int, rng: np.random.Generator) -> np.ndarray:
    """Return the log change of each gene per unit of each programme, float32 [programmes, g]."""
    member = rng.random((config.n_programmes, n_genes)) < 0.1
    direction = rng.standard_normal((config.n_programmes, n_genes))
    return (config.programme_sd * member * direction).astype(np.float32)


def sample_counts(
    expected_rg: np.ndarray,
    cells: Cells,
    factor_bg: np.ndarray,
    loading_kg: np.ndarray,
    dispersion: float,
    rng: np.random.Generator,
) -> sparse.csr_matrix:
    """Draw the counts of every cell.

    Args:
        expected_rg: expected share of each gene in each profile, rows sum to 1.
        cells: profile, batch and total of each cell.
        factor_bg: capture of each gene in each batch.
        loading_kg: programmes; none of them makes counts negative binomial given the profile.
        dispersion: a in variance = mean + a mean^2; 0 is Poisson.
        rng: source of randomness.

    Returns:
        Counts, float32 [n, g], canonical CSR.
    """
    n, n_genes = len(cells.row), expected_rg.shape[1]
    block = max(1, BLOCK_VALUES // n_genes)
    parts = []
    for low in range(0, n, block):
        here = slice(low, min(low + block, n))
        mean = expected_rg[cells.row[here]]
        mean *= factor_bg[cells.batch[here]]
        mean *= (cells.total[here] / mean.sum(1))[:, None]
        if len(loading_kg):
            state = rng.standard_normal((len(mean), len(loading_kg)), dtype=np.float32)
            mean *= np.exp(state @ loading_kg - (loading_kg**2).sum(0) / 2)
        if dispersion:
            mean *= dispersion * rng.standard_gamma(1 / dispersion, mean.shape, dtype=np.float32)
        parts.append(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    return sparse.csr_matrix(sparse.vstack(parts, format="csr", dtype=np.float32))
