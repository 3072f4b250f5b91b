"""Which guides a cell carries, from its counts of guides, and what these target."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field
from scipy import sparse, special

from perturbkit.core.condition import CONTROL, Condition
from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.screen import Screen
from perturbkit.data.check.labels import guide_labels
from perturbkit.data.read.conventions import CONTROL_LABEL
from perturbkit.data.read.tables import read_table

FEW = 10
"""Cells with a count of a guide below which no mixture is fitted."""
STEPS, TOLERANCE = 200, 1e-6


class GuideConfig(Config):
    """How guides are called."""

    method: Literal["mixture", "share"] = "mixture"
    """`mixture`: counts above each guide's own background; `share`: one guide has most counts"""
    min_umis: Annotated[int, Field(ge=1)] = 3
    """least count of a guide that a cell carries"""
    min_share: Annotated[float, Field(gt=0.5, le=1)] = 0.8
    """share of a cell's guide counts that its first guide has, for the method `share`"""
    max_targets: Annotated[int, Field(ge=1)] = 1
    """cells with guides of more targets are left out"""


def call_guides(counts_nk: Any, config: GuideConfig) -> sparse.csr_matrix:
    """Return which guides each cell carries, cells by guides, boolean.

    Args:
        counts_nk: cells by guides, whole counts.
        config: the method and its thresholds.

    Source:
        Mixture: a Poisson background and a Gaussian signal of the log2 counts of each guide, as
        Replogle 2020 (doi:10.1038/s41587-020-0470-y) calls them. Share: the rule of dominance of
        Papalexi 2021.
    """
    counts = sparse.csc_matrix(counts_nk)
    counts.eliminate_zeros()
    if config.method == "share":
        return _by_share(sparse.csr_matrix(counts), config)
    called = counts.copy()
    for k in range(counts.shape[1]):
        here = slice(counts.indptr[k], counts.indptr[k + 1])
        least = max(background_limit(counts.data[here]), config.min_umis)
        called.data[here] = counts.data[here] >= least
    called.eliminate_zeros()
    return sparse.csr_matrix(called.astype(bool))


def _by_share(counts: sparse.csr_matrix, config: GuideConfig) -> sparse.csr_matrix:
    total_n = np.repeat(np.asarray(counts.sum(1)).ravel(), np.diff(counts.indptr))
    called = counts.copy()
    called.data = (counts.data >= config.min_umis) & (counts.data >= config.min_share * total_n)
    called.eliminate_zeros()
    return sparse.csr_matrix(called.astype(bool))


def background_limit(counts: np.ndarray) -> float:
    """Return the least count that is more likely signal than background.

    Args:
        counts: the counts of one guide in the cells that have any.

    Returns:
        A count; the lowest of all where they are too few or too alike to tell two groups apart.
    """
    values, times = np.unique(counts, return_counts=True)
    if counts.size < FEW or values.size < 3:
        return float(values.min()) if values.size else np.inf
    x, weight = np.log2(values), times / times.sum()
    low, high = x.min(), x.max()
    share, rate, middle, width = 0.5, max(low, 0.1), high, max((high - low) / 4, 0.2)
    before = -np.inf
    signal = np.zeros_like(x)
    for _ in range(STEPS):
        background = np.log1p(-share) - rate + x * np.log(rate) - special.gammaln(x + 1)
        gauss = np.log(share) - np.log(width) - 0.919 - np.square((x - middle) / width) / 2
        both = np.logaddexp(background, gauss)
        signal = np.exp(gauss - both)
        now = float(weight @ both)
        if abs(now - before) < TOLERANCE:
            break
        before = now
        part = weight * signal
        share = float(np.clip(part.sum(), 1e-3, 1 - 1e-3))
        middle = float(part @ x / max(part.sum(), 1e-9))
        width = max(float(np.sqrt(part @ np.square(x - middle) / max(part.sum(), 1e-9))), 0.2)
        rest = weight * (1 - signal)
        rate = max(float(rest @ x / max(rest.sum(), 1e-9)), 0.05)
    above = (signal > 0.5) & (x > rate)
    # from the first count from which on all are signal
    first = x.size - int(np.argmin(above[::-1])) if not above.all() else 0
    return float(values[first]) if first < x.size else np.inf


@dataclass(frozen=True, eq=False)
class Assigned:
    """Cells labelled by their guides."""

    screen: Screen
    """cells that carry a guide, with `guide`, `n_guides`, `guide_umis`, `guide_top_frac` in obs"""
    n_none: int
    """cells without a guide, left out"""
    n_many: int
    """cells with guides of too many targets, left out"""


def assign(
    genes: ad.AnnData, guides: ad.AnnData, targets: Mapping[str, str], config: GuideConfig
) -> Assigned:
    """Label cells by the targets of the guides that they carry.

    A control guide beside one of a target leaves the target.

    Args:
        genes: cells by genes, counts.
        guides: the same cells by guides, counts.
        targets: what each guide targets; labels of controls as screens write them.
        config: how guides are called.

    Raises:
        SchemaError: a guide without a target, or no cell with a control guide is left.
    """
    unknown = [g for g in guides.var_names if g not in targets]
    if unknown:
        message = (
            f"{len(unknown):,} guides have no target, for example {', '.join(unknown[:3])}; give a "
            "table of guides: --targets guides.csv with the columns guide and target"
        )
        raise SchemaError(message)
    counts = sparse.csr_matrix(guides.X)
    called = call_guides(counts, config)
    names = np.array(guides.var_names, object)
    total_n = np.asarray(counts.sum(1)).ravel()
    top_n = np.asarray(counts.max(1).todense()).ravel()
    rows, n_none, n_many = [], 0, 0
    for n in range(called.shape[0]):
        mine = names[np.sort(called.indices[called.indptr[n] : called.indptr[n + 1]])]
        hit = {targets[g] for g in mine if not CONTROL_LABEL.match(targets[g])}
        n_none += not mine.size
        n_many += len(hit) > config.max_targets
        if mine.size and len(hit) <= config.max_targets:
            label = Condition(targets=tuple(hit)).perturbation if hit else CONTROL
            rows.append((n, label, "|".join(mine), mine.size))
    if not rows:
        message = f"none of {called.shape[0]:,} cells carries a guide by these rules; loosen them"
        raise SchemaError(message)
    columns = ["row", "perturbation", "guide", "n_guides"]
    about = pd.DataFrame(rows, columns=pd.Index(columns))
    kept = about.pop("row").to_numpy()
    about["guide_umis"] = top_n[kept].astype(int)
    about["guide_top_frac"] = top_n[kept] / total_n[kept]
    labelled = genes[kept].copy()
    labelled.obs = pd.concat([labelled.obs, about.set_index(labelled.obs_names)], axis=1)
    return Assigned(Screen.of(labelled, level="cells", unit="counts"), n_none, n_many)


def guide_targets(guides: ad.AnnData, table: str | Path | None) -> dict[str, str]:
    """Return what each guide targets.

    Args:
        guides: its `var` may have the column `target`.
        table: CSV, TSV or Parquet with the columns `guide` and `target`; by default the file's own
            targets, or the names of guides as `STAT1_2`, `STAT1-sg2` are read.

    Raises:
        SchemaError: the table lacks a column.
    """
    if table is not None:
        found = read_table(table)
        missing = [c for c in ("guide", "target") if c not in found.columns]
        if missing:
            message = f"{table} lacks the column(s) {', '.join(missing)}; it needs guide and target"
            raise SchemaError(message)
        pairs = zip(found["guide"].to_list(), found["target"].to_list(), strict=True)
        return {str(g): str(t) for g, t in pairs if t is not None}
    if "target" in guides.var.columns and (guides.var["target"].astype(str) != "").all():
        return dict(zip(guides.var_names, guides.var["target"].astype(str), strict=True))
    names = list(map(str, guides.var_names))
    controls = {n: CONTROL for n in names if CONTROL_LABEL.match(n)}
    return guide_labels([n for n in names if n not in controls]) | controls
