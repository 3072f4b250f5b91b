"""Measured and predicted cells of the same perturbations and genes, aligned by name."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.false_discovery import benjamini_hochberg_by_row
from perturbkit.data.ranksum import rank_sums
from perturbkit.data.stats import group_stats

Rules = Literal["perturbkit", "cell-eval"]
"""Whose conventions: ours, or those of cell-eval 0.8.2, whose numbers are then reproduced."""
FDR = 0.05
"""Below it a gene is differentially expressed."""
EPSILON = 1e-9
"""Added to means before a fold change, so that a gene seen on one side only has a finite one."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Log-normalized cells by group; the group of a cell is a code."""

    x_ng: Any
    """cells by genes, CSR, float32"""
    code_n: np.ndarray
    """0 for control, 1 to n_groups, -1 for cells that do not count"""
    group_p: np.ndarray
    """the group of each perturbation; two perturbations predicted alike may share one"""
    counts_ng: Any = None
    """raw counts of the same cells, CSR, where the cells were given as counts"""
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)
    """what was computed of these cells; pairs that share them share it"""

    @property
    def n_groups(self) -> int:
        """Number of groups besides the control."""
        return int(self.group_p.max())

    @cached_property
    def mean_kg(self) -> np.ndarray:
        """Mean of each group, the control's first, float64."""
        return group_stats(self.x_ng, self.code_n, self.n_groups + 1).mean_kg

    @property
    def bulk_pg(self) -> np.ndarray:
        """Mean of each perturbation's cells."""
        return self.mean_kg[self.group_p]

    def rows(self, group: int) -> np.ndarray:
        """Positions of the cells of a group."""
        return self._order[self._start[group] : self._start[group + 1]]

    @cached_property
    def _order(self) -> np.ndarray:
        order = np.argsort(self.code_n, kind="stable")
        return order[np.searchsorted(self.code_n[order], 0) :]

    @cached_property
    def _start(self) -> np.ndarray:
        return np.searchsorted(self.code_n[self._order], np.arange(self.n_groups + 2))


@dataclass(frozen=True, eq=False)
class DETable:
    """Differential expression of perturbations [p] against control, by gene [g]."""

    lfc_pg: np.ndarray
    """log2 fold change, float32; infinite only under cell-eval's rules"""
    p_value_pg: np.ndarray
    """two-sided Mann-Whitney, float64"""
    fdr_pg: np.ndarray
    """Benjamini-Hochberg within each perturbation, float32"""
    z_pg: np.ndarray
    """standardized U, above 0 where up, float32"""

    @cached_property
    def significant_pg(self) -> np.ndarray:
        """Whether each gene changes, at a false discovery rate of FDR."""
        return self.fdr_pg < FDR


def de_table(cells: Cells, control: Cells, epsilon: float) -> DETable:
    """Compare each perturbation with control cells.

    Args:
        cells: perturbed cells.
        control: the cells of its group 0 are the control; may be `cells` itself.
        epsilon: added to both means of a fold change.

    Source:
        pdex 0.3.0 as cell-eval 0.8.2 calls it: Mann-Whitney U on log values, fold change of
        geometric means expm1(mean log1p), 0/0 is no change.
    """
    reference = None if control is cells else control.x_ng[control.rows(0)]
    ranks = rank_sums(cells.x_ng, cells.code_n, cells.n_groups, reference_ng=reference)
    fdr = benjamini_hochberg_by_row(ranks.p_value_pg)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.expm1(cells.mean_kg[1:]) + epsilon
        lfc = np.log2(mean / (np.expm1(control.mean_kg[0]) + epsilon))
    lfc = np.nan_to_num(lfc, nan=0.0, posinf=np.inf, neginf=-np.inf)
    at = cells.group_p - 1
    lfc, fdr, z = (x.astype(np.float32)[at] for x in (lfc, fdr, ranks.z_pg))
    return DETable(lfc, ranks.p_value_pg[at], fdr, z)


@dataclass(frozen=True, eq=False)
class CellsPair:
    """Truth and prediction of the same perturbations and genes, of one context.

    By our rules the measured control is the origin of both sides; by cell-eval's each side is
    compared with its own.
    """

    truth: Cells
    """measured cells, control among them"""
    predicted: Cells
    """predicted cells; their control is used by cell-eval's rules only"""
    perturbations: Vocabulary
    """the perturbations scored, in the order of `group_p`"""
    genes: Vocabulary
    """the genes, in the order of the columns"""
    targets: tuple[np.ndarray, ...]
    """positions of the genes each perturbation targets"""
    rules: Rules = "perturbkit"
    """whose conventions"""
    cache: dict[str, Any] = field(default_factory=dict, repr=False)
    """results that several metrics share"""

    @property
    def compat(self) -> bool:
        """Whether cell-eval's numbers are wanted."""
        return self.rules == "cell-eval"

    @cached_property
    def truth_control_g(self) -> np.ndarray:
        """Mean of the measured control."""
        return self.truth.mean_kg[0]

    @cached_property
    def origin_g(self) -> np.ndarray:
        """Mean of the control that predictions are compared with."""
        return self.predicted.mean_kg[0] if self.compat else self.truth_control_g

    @cached_property
    def truth_delta_pg(self) -> np.ndarray:
        """Measured mean change."""
        return self.truth.bulk_pg - self.truth_control_g

    @cached_property
    def predicted_delta_pg(self) -> np.ndarray:
        """Predicted mean change."""
        return self.predicted.bulk_pg - self.origin_g

    @cached_property
    def truth_de(self) -> DETable:
        """Differential expression of the measured cells."""
        epsilon = 0.0 if self.compat else EPSILON
        if ("de", epsilon) not in self.truth.cache:
            self.truth.cache["de", epsilon] = de_table(self.truth, self.truth, epsilon)
        return self.truth.cache["de", epsilon]

    @cached_property
    def predicted_de(self) -> DETable:
        """Differential expression of the predicted cells against the origin."""
        if self.compat:
            return de_table(self.predicted, self.predicted, 0.0)
        return de_table(self.predicted, self.truth, EPSILON)
