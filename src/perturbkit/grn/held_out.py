"""Networks inferred without some cells or some perturbations, to be tested on those."""

import numpy as np

from perturbkit.core.condition import CONTROL
from perturbkit.core.errors import ConfigError
from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn.explain import explain

MIN_FOLD = 2
"""Folds of perturbations need at least so many targets."""


def split_cells(
    screen: Screen, rng: np.random.Generator, *, test_share: float = 0.5
) -> tuple[Screen, Screen]:
    """Return training and test cells; each condition is split, controls too.

    Raises:
        ConfigError: a share outside (0, 1).
    """
    if not 0 < test_share < 1:
        message = f"the test share is {test_share}; it must lie between 0 and 1, such as 0.5"
        raise ConfigError(message)
    labels = screen.adata.obs["perturbation"].astype(str).to_numpy()
    order = rng.permutation(len(labels))
    _, code = np.unique(labels, return_inverse=True)
    # rank of each cell within its condition, in random order
    by_code = order[np.argsort(code[order], kind="stable")]
    first = np.r_[0, np.cumsum(np.bincount(code))][code[by_code]]
    rank = np.arange(len(by_code)) - first
    share = (rank + 0.5) / np.bincount(code)[code[by_code]]
    test = np.zeros(len(labels), bool)
    test[by_code[share > 1 - test_share]] = True
    return rows_where(screen, ~test), rows_where(screen, test)


def rows_where(screen: Screen, kept: np.ndarray) -> Screen:
    """Return some rows of a screen as a screen."""
    return Screen(screen.adata[kept].copy(), screen.level, screen.unit)


def folds_of(targets: list[str], n_folds: int, rng: np.random.Generator) -> list[list[str]]:
    """Return the targets in random folds.

    Raises:
        ConfigError: fewer than two folds, or fewer than two targets in a fold.
    """
    if not 2 <= n_folds <= len(targets) // MIN_FOLD:
        message = (
            f"{n_folds} folds of {len(targets)} perturbed targets were asked for; needed are "
            f"between 2 and {len(targets) // MIN_FOLD}: change the number, or leave them out with 0"
        )
        raise ConfigError(message)
    return [[targets[i] for i in part] for part in np.array_split(rng.permutation(len(targets)),
                                                                   n_folds)]  # fmt: skip


def without(screen: Screen, targets: list[str]) -> Screen:
    """Return the screen without the rows in which one of some targets is perturbed."""
    from perturbkit.core.condition import Condition

    labels = screen.adata.obs["perturbation"].astype(str).to_numpy()
    names, code = np.unique(labels, return_inverse=True)
    kept = [n == CONTROL or not set(Condition.parse(n).targets) & set(targets) for n in names]
    return rows_where(screen, np.array(kept)[code])


def infer_unperturbed(
    screen: Screen, method: str, folds: list[list[str]], rng: np.random.Generator
) -> Graph | None:
    """Return edges from each fold's targets, inferred without the cells that perturb them.

    Weights of different folds are those of one method and are compared as they are. A method that
    gives edges from perturbed genes only has none here.

    Args:
        screen: training cells.
        method: a name in GRN_METHODS.
        folds: the perturbed targets, in groups that are left out in turn.
        rng: source of randomness.

    Returns:
        The edges, or None where no fold gave one.
    """
    import polars as pl

    tables = []
    for fold in folds:
        graph = explain(without(screen, fold), method=method, rng=rng)
        table = graph.table().select("source", "target", "weight", "sign")
        if not graph.directed:
            turned = table.rename({"source": "target", "target": "source"})
            table = pl.concat([table, turned.select(table.columns)])
        tables.append(table.filter(pl.col("source").is_in(fold)))
    edges = pl.concat(tables)
    nodes = [*screen.readouts, *(t for t in screen.targets if t not in screen.readouts)]
    return Graph.of(edges, directed=True, nodes=nodes) if edges.height else None
