"""Differential expression of pseudobulk replicates by PyDESeq2 (extra `deseq`).

The replicates of a condition are its batches: the counts of their cells are added up. Cells of one
batch are no replicates of each other, so a condition in one batch cannot be tested this way.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import polars as pl
from scipy import special

from perturbkit.core.errors import ConfigError, SchemaError, UnitError
from perturbkit.data.de import CONFIDENCE, Tests, context_rows
from perturbkit.data.stats import SUM, GroupStats

MIN_CELLS = 10
"""Batches with fewer cells of a condition are no replicate of it."""


@dataclass(frozen=True, eq=False)
class Replicates:
    """Sums of raw counts of each condition in each batch."""

    sums: GroupStats
    """of raw counts, not their logarithms"""
    condition_k: np.ndarray
    """condition of each group"""
    batch_k: np.ndarray
    """batch of each group"""

    def of(self, condition: int) -> np.ndarray:
        """Return the groups that are replicates of a condition."""
        enough = self.sums.n_k >= MIN_CELLS
        return np.flatnonzero((self.condition_k == condition) & enough)


def deseq_tests(replicates: Replicates, table: pl.DataFrame) -> Tests:
    """Test each condition against the control of its context, with DESeq2's model.

    The design is `~batch + condition` where each batch of the condition holds controls too and two
    degrees of freedom remain, else `~condition`. Neither Cook's distances nor independent filtering
    take p-values away; the false discovery rate is over all readouts.

    Args:
        replicates: counts by condition and batch.
        table: the conditions.

    Returns:
        Wald statistic, p-value, natural-log fold change and half its 95 % interval, [conditions,
        readouts]; NaN where a condition has no two replicates, p 1 where no count is.

    Raises:
        SchemaError: no condition has two replicates, and its control as well.
        ConfigError: PyDESeq2 is not installed.

    Source:
        Love 2014, doi:10.1186/s13059-014-0550-8; Muzellec 2023, doi:10.1093/bioinformatics/btad547.
    """
    require_pydeseq2()
    shape = (table.height, replicates.sums.moments_kgs.shape[1])
    tests = Tests(*(np.full(shape, np.nan) for _ in range(4)))
    n_tested = 0
    for control, others in context_rows(table):
        reference = replicates.of(control)
        for row in others if reference.size >= 2 else ():
            mine = replicates.of(int(row))
            if mine.size >= 2:
                found = _wald(replicates, mine, reference)
                for filled, values in zip(tests.arrays, found, strict=True):
                    filled[row] = values
                n_tested += 1
    if not n_tested:
        message = (
            f"pseudobulk needs at least two batches with {MIN_CELLS} cells of a perturbation and "
            "two with controls of its context; name the column of replicates (--set batch=...), or "
            "use --method wilcoxon"
        )
        raise SchemaError(message)
    return tests


def require_counts(unit: str) -> None:
    """Refuse other units.

    Raises:
        UnitError: not counts.
    """
    if unit != "counts":
        message = f"pydeseq2 needs raw counts, and the values are {unit}; give the counts"
        raise UnitError(message)


def require_pydeseq2() -> None:
    """Refuse before any work where the extra is not installed.

    Raises:
        ConfigError: it is not.
    """
    from importlib.util import find_spec

    if find_spec("pydeseq2") is None:
        message = (
            "method pydeseq2 needs PyDESeq2: pip install 'perturbkit[deseq]', or use --method "
            "wilcoxon"
        )
        raise ConfigError(message)


def _wald(
    replicates: Replicates, mine: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, ...]:
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats

    groups = np.r_[mine, reference]
    counts = np.rint(replicates.sums.moments_kgs[groups][..., SUM]).astype(np.int64)
    filled = counts.sum(0) > 0
    about = pd.DataFrame({
        "condition": ["perturbed"] * mine.size + ["control"] * reference.size,
        "batch": [f"b{b}" for b in replicates.batch_k[groups]],
    }, index=[f"r{i}" for i in range(groups.size)])  # fmt: skip
    names = [f"g{g}" for g in np.flatnonzero(filled)]
    frame = pd.DataFrame(counts[:, filled], about.index, names)
    inference = DefaultInference(n_cpus=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its fits to few readouts; what they give is tested
        data = DeseqDataSet(counts=frame, metadata=about, design=_design(about), quiet=True,
                            refit_cooks=False, inference=inference)  # fmt: skip
        data.deseq2()
        fitted = DeseqStats(data, ["condition", "perturbed", "control"], cooks_filter=False,
                            independent_filter=False, inference=inference, quiet=True)  # fmt: skip
        fitted.summary()
    result = fitted.results_df.loc[names]
    normal = float(special.ndtri(0.5 + CONFIDENCE / 2))
    columns = (
        (result["stat"], 0.0),
        (result["pvalue"], 1.0),
        (result["log2FoldChange"] * np.log(2), 0.0),
        (result["lfcSE"] * np.log(2) * normal, 0.0),
    )
    out = []
    for values, silent in columns:
        row = np.full(filled.size, silent)
        row[filled] = values.fillna(silent).to_numpy(float)
        out.append(row)
    return tuple(out)


def _design(about: pd.DataFrame) -> str:
    """Return the design: paired by batch where that can be told apart."""
    mine, theirs = (set(about.loc[about["condition"] == c, "batch"])
                    for c in ("perturbed", "control"))  # fmt: skip
    left = len(about) - (len(mine | theirs) + 1)
    return "~batch + condition" if mine <= theirs and left >= 2 else "~condition"
