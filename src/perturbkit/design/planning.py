"""Power and cost of a screen, from a pilot: how many guides, cells and replicates it takes."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import ndtr, ndtri

from perturbkit.core.errors import SchemaError


@dataclass(frozen=True)
class Pilot:
    """What a pilot experiment says of one readout, in the unit of the readout."""

    cell_sd: float
    """standard deviation between cells of one guide"""
    guide_sd: float
    """standard deviation of the effect between guides of one gene"""
    replicate_sd: float
    """standard deviation of the effect between replicates"""
    counting_share: float = 0.0
    """share of the variance between cells that is counting noise, at the pilot's depth"""


@dataclass(frozen=True)
class Prices:
    """Cost of each thing, in any currency."""

    guide: float = 5.0
    cell: float = 0.1
    reads: float = 0.1
    """sequencing of one cell at the pilot's depth"""
    replicate: float = 500.0


def variance(
    pilot: Pilot, guides: float, cells: float, replicates: float, depth: float = 1.0
) -> float:
    """Return the variance of an estimated effect of one gene.

    replicate_sd^2 / R + guide_sd^2 / G + cell_sd^2 / (G C R): replicates are shared by guides,
    guides by replicates, cells by nobody.

    Args:
        pilot: the three spreads.
        guides: G, guides for each gene.
        cells: C, cells for each guide and replicate.
        replicates: R.
        depth: reads of a cell over those of the pilot; counting noise falls as 1 / depth.
    """
    counting = pilot.counting_share
    within = pilot.cell_sd**2 * (1 - counting + counting / depth)
    between = pilot.replicate_sd**2 / replicates + pilot.guide_sd**2 / guides
    return between + within / (guides * cells * replicates)


def power(effect: float, sd: float, n_tests: int, level: float = 0.05) -> float:
    """Return the chance to call an effect of this size, two-sided normal test.

    Args:
        effect: true change, unit of the readout.
        sd: standard deviation of its estimate.
        n_tests: genes tested; the level is shared among them (Bonferroni).
        level: chance of any false call.
    """
    cut = -ndtri(level / (2 * n_tests))
    z = abs(effect) / sd
    return float(ndtr(z - cut) + ndtr(-z - cut))


def pilot_from_cells(
    value_n: np.ndarray, gene_n: np.ndarray, guide_n: np.ndarray, replicate_n: np.ndarray
) -> Pilot:
    """Estimate the three spreads by nested analysis of variance (method of moments).

    Args:
        value_n: one readout of each cell.
        gene_n: target of each cell.
        guide_n: guide of each cell.
        replicate_n: replicate of each cell.

    Raises:
        SchemaError: no gene has two guides, or no guide two cells.
    """
    cells = pl.DataFrame({"value": value_n, "gene": gene_n, "guide": guide_n, "rep": replicate_n})
    groups = cells.group_by("gene", "guide", "rep").agg(
        pl.col("value").mean().alias("mean"), pl.col("value").var().alias("var"), pl.len()
    )
    degrees = groups["len"].to_numpy() - 1.0
    if not degrees.sum():
        message = "no guide has two cells in a replicate; a pilot needs several cells per guide"
        raise SchemaError(message)
    within = float(np.average(groups["var"].fill_null(0.0).to_numpy(), weights=degrees))
    guide_var = _between(groups, ["gene", "rep"], within)
    rep_var = _between(groups, ["gene", "guide"], within)
    if np.isnan(guide_var):
        message = "no gene has two guides; a pilot needs at least two guides per gene"
        raise SchemaError(message)
    rep_var = 0.0 if np.isnan(rep_var) else rep_var
    return Pilot(within**0.5, guide_var**0.5, rep_var**0.5)


def _between(groups: pl.DataFrame, same: list[str], within: float) -> float:
    """Variance of group means that share `same`, less what cells explain; never negative."""
    found = groups.group_by(same).agg(
        pl.col("mean").var().alias("v"), (1 / pl.col("len")).mean().alias("inv"), pl.len()
    ).filter(pl.col("len") > 1)  # fmt: skip
    if not found.height:
        return float("nan")
    weight = found["len"].to_numpy() - 1.0
    total, share = (np.average(found[c].to_numpy(), weights=weight) for c in ("v", "inv"))
    return max(float(total - within * share), 0.0)


def plan_table(
    pilot: Pilot, effect: float, n_genes: int, prices: Prices, *, wanted: float = 0.8
) -> pl.DataFrame:
    """Return designs that reach the wanted power, cheapest first; empty when none does.

    Searches 1 to 10 guides, 10 to 1000 cells for each guide, 1 to 6 replicates and, where some
    of the noise is counting noise, a quarter to four times the pilot's depth.
    """
    depths = np.array([0.25, 0.5, 1.0, 2.0, 4.0]) if pilot.counting_share else np.ones(1)
    guides, cells, replicates, depth = np.meshgrid(
        np.arange(1, 11), np.array([10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000]),
        np.arange(1, 7), depths, indexing="ij",
    )  # fmt: skip
    rows = []
    grid = zip(*(v.ravel().tolist() for v in (guides, cells, replicates, depth)), strict=True)
    for g, c, r, d in grid:
        chance = power(effect, variance(pilot, g, c, r, d) ** 0.5, n_genes)
        if chance >= wanted:
            each = prices.cell + prices.reads * d
            cost = prices.guide * g * n_genes + each * g * c * r * n_genes
            rows.append((g, c, r, d, chance, float(cost + prices.replicate * r)))
    schema = {
        "guides_per_gene": pl.Int64, "cells_per_guide": pl.Int64, "replicates": pl.Int64,
        "depth": pl.Float64, "power": pl.Float64, "cost": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row").sort("cost")
