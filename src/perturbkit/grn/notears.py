"""NOTEARS: a weighted acyclic graph by gradient descent, told which gene each row perturbs."""

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.rng import torch_generator
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import centred, rows_of

N_STEPS = 200
"""Gradient steps at each strength of the acyclicity constraint."""
SPARSITY = 0.02
"""Absolute penalty on the weights of standardized genes."""
BARRIERS = (1.0, 0.3, 0.1, 0.03)
"""Falling weights of the loss against the constraint."""


def notears(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return the edges of a linear acyclic model that explains every row.

    A gene that a row perturbs is cut from its regulators there: its residual does not count.

    Args:
        screen: cells or profiles.
        rng: seeds the start.

    Source:
        Zheng et al. 2018, arXiv 1803.01422, with the log-determinant constraint of DAGMA (Bello
        et al. 2022, arXiv 2209.08037) and the interventional loss of DCDI (Brouillard et al.
        2020, arXiv 2007.01754); linear, Gaussian.
    """
    rows = rows_of(screen)
    x = centred(rows)
    own = rows.readouts.find(rows.sources)
    target_n = np.where(rows.code_n >= 0, own[rows.code_n], -1)
    score = acyclic_weights(x, target_n, rng)
    return graph_of_scores(score, rows.readouts, rows.readouts, name="notears")


def acyclic_weights(x_ng: np.ndarray, target_n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return weights [regulator, target] of standardized genes.

    Args:
        x_ng: centred values.
        target_n: the column each row perturbs, -1 for none.
        rng: seeds the start.
    """
    import torch

    size = x_ng.std(0)
    z = np.divide(x_ng, size, out=np.zeros_like(x_ng), where=size > 0)
    n, g = z.shape
    counted = np.ones_like(z)
    rows = np.flatnonzero(target_n >= 0)
    counted[rows, target_n[rows]] = 0.0
    x, keep = torch.as_tensor(z), torch.as_tensor(counted)
    start = 1e-3 * torch.randn(g, g, generator=torch_generator(rng), dtype=x.dtype)
    w = start.requires_grad_()
    off, eye = 1 - torch.eye(g, dtype=x.dtype), torch.eye(g, dtype=x.dtype)
    for barrier in BARRIERS:
        best = w.detach().clone()
        optimizer = torch.optim.Adam([w], lr=0.01 * max(barrier, 0.1))
        for _ in range(N_STEPS):
            weights = w * off
            residual = (x - x @ weights) * keep
            inside = eye - weights * weights
            sign, log_det = torch.linalg.slogdet(inside)
            if sign <= 0 or not torch.isfinite(log_det):
                # left the region where the constraint holds: go back half-way to the last good
                with torch.no_grad():
                    w.copy_(0.5 * (w + best) * 0.9)
                continue
            best = w.detach().clone()
            fit = (residual**2).sum() / (2 * n) + SPARSITY * weights.abs().sum()
            loss = barrier * fit - log_det
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return (w * off).detach().numpy()


card = GrnCard(
    name="notears",
    summary="linear acyclic model by gradient descent, with interventions",
    source="NOTEARS, arXiv 1803.01422; DAGMA, arXiv 2209.08037; DCDI, arXiv 2007.01754",
    fn=notears,
    max_genes=300,
)
