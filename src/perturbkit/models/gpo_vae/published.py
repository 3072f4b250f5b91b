"""The network loss of GPO-VAE as published: powers of the mask's logits against single cells."""

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from perturbkit.core.condition import CONTROL
from perturbkit.models.cells import CellData

COST_SCALE = 100.0
"""Euclidean distances are divided by this before the transport plan, as published"""
N_ROUNDS = 100


def reach(logits_pn: Tensor, square_nn: Tensor, hop: int) -> Tensor:
    """Return the rows of sum_k W (W / n)^k for k = 0 .. hop, [p, n].

    Args:
        logits_pn: rows of W of the perturbed genes.
        square_nn: all of W, the n genes by themselves.
        hop: longest path, less one edge.
    """
    n = square_nn.shape[0]
    total = term = logits_pn
    for _ in range(hop):
        term = term @ square_nn / n
        total = total + term
    return total


def network_loss(reach_np: Tensor, distance: Tensor, criterion: float) -> Tensor:
    """Return mean |S - (|y - y of the matched control| - c)| over cells and genes.

    Args:
        reach_np: rows of `reach` of each cell's perturbation; zero for controls.
        distance: absolute difference of each cell from its matched control, [n, genes]; zero for
            controls.
        criterion: c.
    """
    return (reach_np - (distance - criterion)).abs().mean()


def matched_distances(cells: CellData, genes: np.ndarray, panel: np.ndarray) -> np.ndarray:
    """Return |y - y of its matched control| of every cell of the store, float32 [n, genes].

    y is log1p of counts scaled to the median total. The match of a cell is the control with the
    largest share of its row of the entropic transport plan between its condition's cells and the
    training controls, both uniform. Controls match themselves.

    Args:
        cells: the cells; those that are neither for training nor for validation stay zero.
        genes: positions of the genes wanted.
        panel: positions of the perturbed genes, in whose space cells are matched.

    Source:
        Cuturi 2013 (Sinkhorn); settings of reference "GPO-VAE", section 1.4.
    """
    store = cells.store
    code = store.arrays["condition"]
    is_control = (store.conditions["perturbation"] == CONTROL).to_numpy()
    rows = np.sort(np.concatenate([cells.train_n, cells.val_n]))
    controls = cells.train_n[is_control[code[cells.train_n]]]
    median = float(np.median([store.dense(p).sum(1).mean() for p in _blocks(rows)]))
    y_control = _logged(cells, controls, genes, median)
    near = _logged(cells, controls, panel, median).astype(np.float64)
    result = np.zeros((store.n_cells, len(genes)), np.float32)
    for c in np.unique(code[rows]):
        if is_control[c]:
            continue
        mine = rows[code[rows] == c]
        match = _matches(_logged(cells, mine, panel, median).astype(np.float64), near)
        result[mine] = np.abs(_logged(cells, mine, genes, median) - y_control[match])
    return result


def _matches(x_np: np.ndarray, control_rp: np.ndarray) -> np.ndarray:
    """Return the control that each row of the transport plan favours."""
    square = (x_np**2).sum(1)[:, None] + (control_rp**2).sum(1) - 2 * x_np @ control_rp.T
    kernel = -np.sqrt(np.maximum(square, 0)) / COST_SCALE
    f, g = np.zeros(len(x_np)), np.zeros(len(control_rp))
    for _ in range(N_ROUNDS):
        f = -logsumexp(kernel + g, axis=1) - np.log(len(f))
        g_new = -logsumexp(kernel + f[:, None], axis=0) - np.log(len(g))
        if np.abs(g_new - g).max() < 1e-9:
            break
        g = g_new
    return np.argmax(kernel + g, axis=1)


def _logged(cells: CellData, rows: np.ndarray, genes: np.ndarray, median: float) -> np.ndarray:
    parts = []
    for part in _blocks(rows):
        x = cells.store.dense(part)
        total = np.maximum(x.sum(1, keepdims=True), 1.0)
        parts.append(np.log1p(x[:, genes] * (median / total)))
    return np.concatenate(parts) if parts else np.zeros((0, len(genes)), np.float32)


def _blocks(rows: np.ndarray, size: int = 4096) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def penalty(logits: Tensor) -> Tensor:
    """Return the mean probability of an edge."""
    return torch.sigmoid(logits).mean()
