"""From two screens of cells to pairs: same genes, same perturbations, same scale, or a refusal."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from perturbkit.core.condition import conditions_of
from perturbkit.core.errors import SchemaError, UnitError
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.de import log_normalized
from perturbkit.data.stats import TARGET_SUM
from perturbkit.metrics.cells.pair import Cells, CellsPair, Rules

SCALE = 2.0
"""Cells of one side whose typical library is this many times the other's are on another scale."""
OUTLIER, OUTLIERS = 20.0, 0.01
"""More than this share of cells beyond this multiple of the typical library: two scales mixed."""
SAMPLE = 500
"""Cells looked at to judge the scale."""


@dataclass(frozen=True, eq=False)
class AlignedCells:
    """The pairs of all contexts, and what could not be compared."""

    pairs: dict[str, CellsPair]
    """a pair for each context"""
    missing: dict[str, list[str]]
    """measured perturbations of each context that are not predicted"""
    notes: list[str]
    """what a reader of the scores must know"""


def align_cells(truth: Screen, predicted: Screen, rules: Rules = "perturbkit") -> AlignedCells:
    """Bring predicted cells into the genes and perturbations of the measured ones, by name.

    Counts are log-normalized, and kept beside for the metrics that need them.

    Raises:
        UnitError: neither counts nor log-normalized, or the two sides are on different scales.
        SchemaError: no gene or no perturbation in common, or a context without control.
    """
    for name, screen in (("truth", truth), ("predictions", predicted)):
        if screen.level != "cells" or screen.unit not in ("log1p_cp10k", "counts"):
            message = (
                f"{name} are {screen.level} in {screen.unit}; scores of cells need counts or "
                "log-normalized cells on both sides"
            )
            raise UnitError(message)
    _same_scale(truth, predicted)
    notes: list[str] = []
    genes = Vocabulary((g for g in truth.readouts if g in predicted.readouts), "gene")
    if not len(genes):
        message = (
            f"truth ({truth.readouts[0]!r}, ...) and predictions ({predicted.readouts[0]!r}, ...) "
            "have no gene in common; map gene names to one kind first"
        )
        raise SchemaError(message)
    if len(genes) < len(truth.readouts):
        n = len(truth.readouts) - len(genes)
        notes.append(f"{n} of {len(truth.readouts)} genes are not predicted and not scored")
    sides = [_side(truth, genes), _side(predicted, genes)]
    pairs, missing = {}, {}
    for context in truth.contexts:
        measured, offered = (side.of(context) for side in sides)
        missing[context] = sorted(set(measured) - set(offered) - {""})
        both = sorted((set(measured) & set(offered)) - {""})
        if missing[context]:
            notes.append(f"{context}: {len(missing[context])} perturbations are not predicted")
        if not both:
            continue
        pairs[context] = _pair(sides, context, both, genes, rules)
    if not pairs:
        message = "no measured perturbation is predicted; name perturbations and contexts alike"
        raise SchemaError(message)
    return AlignedCells(pairs, missing, notes)


@dataclass(frozen=True, eq=False)
class _Side:
    screen: Screen
    x_ng: sparse.csr_matrix
    counts_ng: sparse.csr_matrix | None
    code_n: np.ndarray
    notation: list[str]
    """of each condition; empty text for controls"""
    contexts: list[str]

    def of(self, context: str) -> dict[str, int]:
        """Conditions of a context, by notation."""
        return {
            n: i
            for i, (n, c) in enumerate(zip(self.notation, self.contexts, strict=True))
            if c == context
        }


def _side(screen: Screen, genes: Vocabulary) -> _Side:
    x_ng, counts_ng = sparse.csr_matrix(screen.adata.X, dtype=np.float32), None
    if screen.readouts != genes:
        x_ng = x_ng[:, screen.readouts.encode(genes)]
    if screen.unit == "counts":
        x_ng, counts_ng = log_normalized(x_ng), x_ng
    conditions = conditions_of(screen.conditions)
    notation = ["" if c.is_control else c.notation for c in conditions]
    contexts = [c.context for c in conditions]
    return _Side(screen, x_ng, counts_ng, screen.row_codes(), notation, contexts)


def _pair(
    sides: list[_Side], context: str, both: list[str], genes: Vocabulary, rules: Rules
) -> CellsPair:
    cells = []
    for side in sides:
        known = side.of(context)
        # predictions need no control of their own by our rules
        if "" not in known and (side is sides[0] or rules == "cell-eval"):
            whose = "measured" if side is sides[0] else "predicted"
            message = (
                f"context {context!r} has no {whose} control cells, which are what changes are "
                "measured from; add them, labelled 'control'"
            )
            raise SchemaError(message)
        code_of = np.full(len(side.notation), -1)
        if "" in known:
            code_of[known[""]] = 0
        for p, name in enumerate(both, start=1):
            code_of[known[name]] = p
        code_n = code_of[side.code_n]
        cells.append(Cells(side.x_ng, code_n, np.arange(1, len(both) + 1), side.counts_ng))
    known = sides[0].of(context)
    conditions = conditions_of(sides[0].screen.conditions)
    targets = [genes.find(conditions[known[name]].targets) for name in both]
    return CellsPair(
        cells[0],
        cells[1],
        Vocabulary(both, "perturbation"),
        genes,
        tuple(t[t >= 0] for t in targets),
        rules,
    )


def _same_scale(truth: Screen, predicted: Screen) -> None:
    """Refuse sides of different scale, and a side that mixes two; counts are brought to one."""
    typical = []
    for name, screen in (("truth", truth), ("predictions", predicted)):
        if screen.unit == "counts":
            typical.append(TARGET_SUM)
            continue
        x_ng = screen.adata.X
        step = max(1, x_ng.shape[0] // SAMPLE)
        sample = sparse.csr_matrix(x_ng[::step], dtype=np.float64)
        sample.data = np.expm1(sample.data)
        library = np.asarray(sample.sum(1)).ravel()
        middle = float(np.median(library))
        typical.append(middle)
        share = float(np.mean((library > OUTLIER * middle) | (library < middle / OUTLIER)))
        if share > OUTLIERS:
            message = (
                f"{share:.0%} of the cells of {name} are on another scale than the others "
                f"(typical total {middle:,.0f}): raw and logged cells are mixed; bring all cells "
                "to log1p of counts per 10 k"
            )
            raise UnitError(message)
    # genes that are not predicted lower a total, so only predictions far above or below count
    if not typical[0] / SCALE <= typical[1] <= typical[0] * SCALE:
        message = (
            f"measured cells have a typical total of {typical[0]:,.0f} and predicted ones of "
            f"{typical[1]:,.0f} after undoing the log: the two sides are on different scales; "
            "normalize both to the same total"
        )
        raise UnitError(message)
