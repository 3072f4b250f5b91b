"""Networks from a screen's training fold: genes that vary together, targets that act alike."""

from collections.abc import Mapping

import numpy as np
from pydantic import Field
from scipy import sparse

from perturbkit.core.condition import conditions_of
from perturbkit.core.errors import LeakError, SchemaError
from perturbkit.core.graph import Graph, Provenance
from perturbkit.core.screen import Screen, screen_keys
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.graphs.card import GraphCard, GraphConfig

BLOCK = 1024
"""Rows whose similarities are computed at a time."""


class SimilarityConfig(GraphConfig):
    """How similar rows become neighbours."""

    neighbours: int = Field(default=20, ge=1)
    """how many similar rows each row keeps at most"""
    min_similarity: float = Field(default=0.0, ge=0, le=1)
    """absolute correlations below this are no edge"""


class CoexpressionConfig(SimilarityConfig):
    """Settings of co-expression."""

    controls_only: bool = False
    """correlate over control cells only, so that no perturbation's effect enters"""


def training_rows(screen: Screen, folds: Mapping[str, str]) -> np.ndarray:
    """Return which rows of the screen belong to the training fold; controls always do.

    Args:
        screen: cells or profiles.
        folds: the fold of each condition, by key: "train", "val", "test".

    Returns:
        Booleans, one for each row.

    Raises:
        LeakError: a condition has no fold, so that it may be held out.
        SchemaError: no condition is in training.
    """
    keys = screen_keys(screen)
    control = np.array([c.is_control for c in conditions_of(screen.conditions)])
    unplaced = [k for k, c in zip(keys, control, strict=True) if not c and k not in folds]
    if unplaced:
        message = (
            f"{len(unplaced):,} conditions such as {unplaced[0]!r} have no fold; a network from "
            "data is made of the training fold only: give the fold of every condition"
        )
        raise LeakError(message)
    train = np.array([folds.get(k) == "train" for k in keys]) | control
    if not (train & ~control).any():
        message = "no condition is in the fold 'train'; a network from data needs some"
        raise SchemaError(message)
    return train[screen.row_codes()]


def log_values(screen: Screen, rows: np.ndarray) -> sparse.csr_array | np.ndarray:
    """Return rows of a screen on the log scale: counts become log1p of counts per 10,000."""
    x = screen.adata.X[rows]
    if screen.unit != "counts":
        return x
    x = sparse.csr_array(x, dtype=np.float32)
    total = np.maximum(np.asarray(x.sum(1)).ravel(), 1)
    return (sparse.diags_array((1e4 / total).astype(np.float32)) @ x).log1p()


def correlation_neighbours(
    x_gd: np.ndarray, k: int, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the k rows of the largest absolute Pearson correlation with each row.

    Rows without variation have no neighbours.

    Returns:
        Rows, their neighbours, and signed correlations of at least `least` in absolute value.
    """
    z = x_gd - x_gd.mean(1, keepdims=True)
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    z = np.where(norm > 1e-6, z / np.maximum(norm, 1e-6), 0).astype(np.float32)
    n, k = len(z), min(k, max(len(z) - 1, 0))
    rows, others, values = [], [], []
    for start in range(0, n if k else 0, BLOCK):
        r = z[start : start + BLOCK] @ z.T
        own = np.arange(len(r))
        r[own, start + own] = 0
        best = np.argpartition(-np.abs(r), k - 1, axis=1)[:, :k]
        rows.append(np.repeat(start + own, k))
        others.append(best.ravel())
        values.append(np.take_along_axis(r, best, 1).ravel())
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    row, other, value = map(np.concatenate, (rows, others, values))
    keep = np.abs(value) > max(least, 1e-6)
    return row[keep], other[keep], np.clip(value[keep], -1, 1)


def similarity_graph(
    x_gd: np.ndarray, names: Vocabulary, config: SimilarityConfig, about: Provenance
) -> Graph:
    """Return the undirected network of correlated rows; the sign is that of the correlation."""
    a, b, r = correlation_neighbours(x_gd, config.neighbours, config.min_similarity)
    low, high = np.minimum(a, b), np.maximum(a, b)
    _, first = np.unique(low * len(names) + high, return_index=True)
    return Graph(
        names, low[first], high[first], np.abs(r[first]), np.sign(r[first]), directed=False,
        provenance=about,
    )  # fmt: skip


def read(screen: Screen, folds: Mapping[str, str], config: CoexpressionConfig) -> Graph:
    """Link genes whose log expression correlates over the training fold's rows.

    Args:
        screen: cells or profiles.
        folds: the fold of each condition, by key; anything but "train" is never looked at.
        config: the settings.

    Raises:
        LeakError: a condition has no fold.
        SchemaError: no training condition, or fewer than three rows.
    """
    rows = training_rows(screen, folds)
    if config.controls_only:
        rows &= (screen.adata.obs["perturbation"] == "control").to_numpy()
    if rows.sum() < 3:
        message = f"{int(rows.sum())} rows are left to correlate over; at least 3 are needed"
        raise SchemaError(message)
    x = log_values(screen, rows)
    x_gn = (x.toarray() if sparse.issparse(x) else np.asarray(x)).T
    x_gn = np.nan_to_num(x_gn - np.nanmean(x_gn, axis=1, keepdims=True))
    about = Provenance(name="coexpression", version=f"{int(rows.sum())} rows of the training fold")
    return similarity_graph(x_gn, screen.readouts, config, about)


def read_targets(screen: Screen, folds: Mapping[str, str], config: SimilarityConfig) -> Graph:
    """Link targets whose perturbation changes the readouts alike, over the training fold.

    Each single-target condition's mean minus its context's control, averaged over conditions.

    Raises:
        LeakError: a condition has no fold.
        SchemaError: no training condition of one target.
    """
    rows = training_rows(screen, folds)
    codes = screen.row_codes()[rows]
    x = log_values(screen, rows)
    n = screen.conditions.height
    ones = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), (n, len(codes)))
    count = np.maximum(np.bincount(codes, minlength=n), 1)[:, None]
    dense = x if sparse.issparse(x) else np.nan_to_num(np.asarray(x))
    mean = ones @ dense
    mean_cg = (mean.toarray() if sparse.issparse(mean) else mean) / count
    conditions = conditions_of(screen.conditions)
    control = {c.context: mean_cg[i] for i, c in enumerate(conditions) if c.is_control}
    here = np.bincount(codes, minlength=n) > 0
    deltas: dict[str, list[np.ndarray]] = {}
    for i, condition in enumerate(conditions):
        if here[i] and len(condition.targets) == 1:
            delta = mean_cg[i] - control.get(condition.context, 0)
            deltas.setdefault(condition.targets[0], []).append(delta)
    if not deltas:
        message = "no training condition perturbs a single target; such a network needs some"
        raise SchemaError(message)
    names = Vocabulary(sorted(deltas), "target")
    x_gd = np.stack([np.mean(deltas[t], axis=0) for t in names])
    about = Provenance(
        name="perturbation_similarity", version=f"{len(names)} targets of the training fold"
    )
    return similarity_graph(x_gd, names, config, about)


coexpression = GraphCard(
    name="coexpression",
    summary="genes that vary together over the training fold of a screen",
    source="Pearson correlation of log expression",
    read=read,
    config=CoexpressionConfig,
    takes="screen",
    species="that of the screen",
    licence="that of the screen",
)
perturbation_similarity = GraphCard(
    name="perturbation_similarity",
    summary="targets whose perturbation changes the readouts alike, over the training fold",
    source="Pearson correlation of mean changes against control",
    read=read_targets,
    config=SimilarityConfig,
    takes="screen",
    species="that of the screen",
    licence="that of the screen",
)
