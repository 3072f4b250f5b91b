"""A screen's values for network inference: rows by readouts, comparable between rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from perturbkit.core.condition import CONTROL, Condition
from perturbkit.core.errors import SchemaError
from perturbkit.core.screen import Screen
from perturbkit.core.units import RELATIVE_UNITS
from perturbkit.core.vocabulary import Vocabulary

TARGET_SUM = 1e4
"""Counts are scaled to this total per cell before the logarithm."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a screen that are controls or have one perturbed target."""

    x_ng: Any
    """values, log1p counts per 10 k where the screen holds counts; sparse where it is sparse"""
    counts_ng: Any
    """the counts themselves, sparse; None where the screen does not hold counts"""
    code_n: np.ndarray
    """position in `sources` of each row's target, -1 for a control"""
    stratum_n: np.ndarray
    """code of each row's context and batch: rows of one stratum may be compared"""
    log_depth_n: np.ndarray | None
    """log of each cell's counts; None where the screen does not hold counts"""
    guide_n: np.ndarray | None
    """code of each row's guide, where `obs` says; used to split controls"""
    sources: Vocabulary
    """perturbed targets"""
    readouts: Vocabulary
    """names of the columns"""
    kind_n: np.ndarray
    """how each row was perturbed, as text"""
    is_relative: bool
    """whether the unit already says the change against control, so that its control is zero"""

    @property
    def kind_p(self) -> np.ndarray:
        """How each source was perturbed; of several ways, a knock-out."""
        kinds = np.full(len(self.sources), "unknown", dtype=object)
        ordered = np.argsort(self.kind_n == "ko", kind="stable")
        ordered = ordered[self.code_n[ordered] >= 0]
        kinds[self.code_n[ordered]] = self.kind_n[ordered]
        return kinds


def rows_of(screen: Screen) -> Rows:
    """Return controls and single perturbations; combinations are left out.

    Counts are divided by each cell's total (the `obs` column `n_counts` where the screen holds
    only some genes, else the row sum), scaled to 10,000 and logged.

    Raises:
        SchemaError: no row has a single perturbed target.
    """
    obs = screen.adata.obs
    labels = obs["perturbation"].astype(str).to_numpy()
    names, inverse = np.unique(labels, return_inverse=True)
    targets = [Condition.parse(n).targets for n in names]
    sources = Vocabulary(sorted({t[0] for t in targets if len(t) == 1}), "perturbation")
    if not len(sources):
        message = (
            f"found {len(names)} labels ({', '.join(names[:3])}) and none with one target; "
            "network inference starts from single perturbations: add them to the screen"
        )
        raise SchemaError(message)
    code_of = np.array(
        [-1 if n == CONTROL else sources.index_of[t[0]] if len(t) == 1 else -2
         for n, t in zip(names, targets, strict=True)], np.int64
    )  # fmt: skip
    code = code_of[inverse]
    keep = np.flatnonzero(code >= -1)
    x, depth = _values(screen)
    strata = obs["context"].astype(str).to_numpy() + "\x1f" + obs["batch"].astype(str).to_numpy()
    guide = obs["guide"].astype(str).to_numpy() if "guide" in obs.columns else None
    return Rows(
        x_ng=x[keep],
        counts_ng=None if depth is None else sparse.csr_array(screen.adata.X)[keep],
        code_n=code[keep],
        stratum_n=np.unique(strata[keep], return_inverse=True)[1],
        log_depth_n=None if depth is None else depth[keep],
        guide_n=None if guide is None else np.unique(guide[keep], return_inverse=True)[1],
        sources=sources,
        readouts=screen.readouts,
        kind_n=obs["kind"].astype(str).to_numpy()[keep],
        is_relative=screen.unit in RELATIVE_UNITS,
    )


def _values(screen: Screen) -> tuple[Any, np.ndarray | None]:
    """Return comparable values and, for counts, the log depth of each row."""
    x: Any = screen.adata.X
    x = sparse.csr_array(x, dtype=np.float32) if sparse.issparse(x) else np.asarray(x, np.float32)
    if screen.unit != "counts":
        return x, None
    total = np.asarray(x.sum(1), np.float64).ravel()
    stated = screen.adata.obs.get("n_counts")
    if stated is not None and np.issubdtype(stated.dtype, np.number):
        total = np.maximum(stated.to_numpy(dtype=np.float64), total)
    scale = (TARGET_SUM / np.maximum(total, 1.0)).astype(np.float32)
    scaled = x.multiply(scale[:, None]).tocsr() if sparse.issparse(x) else x * scale[:, None]
    return np.log1p(scaled), np.log(np.maximum(total, 1.0))


def dense(x_ng: Any) -> np.ndarray:
    """Return a dense float32 matrix; NaN stays."""
    return x_ng.toarray() if sparse.issparse(x_ng) else np.asarray(x_ng, np.float32)


def centred(rows: Rows) -> np.ndarray:
    """Return dense float64 values [n, g], each readout centred within its context and batch.

    Values not measured (NaN) become 0, the centre.
    """
    x = dense(rows.x_ng).astype(np.float64)
    for s in np.unique(rows.stratum_n):
        inside = rows.stratum_n == s
        block = x[inside]
        known = ~np.isnan(block)
        mean = np.where(known, block, 0).sum(0) / np.maximum(known.sum(0), 1)
        x[inside] = np.where(known, block - mean, 0.0)
    return x


def correlations(x_ng: np.ndarray) -> np.ndarray:
    """Return correlations of centred columns, [g, g]; 0 for a column without variance."""
    size = np.sqrt((x_ng**2).sum(0))
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    return (x_ng.T @ x_ng) * np.outer(scale, scale)
