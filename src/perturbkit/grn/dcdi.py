"""DCDI: an acyclic model of interventions, each gene a small network of its sampled regulators."""

from typing import Any

import numpy as np

from perturbkit.core.graph import Graph
from perturbkit.core.rng import torch_generator
from perturbkit.core.screen import Screen
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.card import GrnCard
from perturbkit.grn.expression import centred, rows_of

WIDTH = 4
"""Hidden units of each gene's network."""
N_STEPS = 300
"""Gradient steps."""
BATCH = 256
"""Rows of a step."""
SPARSITY = 0.02
"""Penalty on the expected number of edges, per gene, in log likelihood of a row."""
MAX_CYCLES = 20.0
"""Penalty on cycles at the end; it grows from nothing over the second half of the steps."""
POWER_STEPS = 15
"""Steps of the power iteration that measures cycles."""


def dcdi(screen: Screen, rng: np.random.Generator) -> Graph:
    """Return edges by the probability of their switch times their effect.

    Each gene's mean is a small network of all genes behind random switches; the probabilities of
    the switches and the networks are learned together by the likelihood of all rows, but for
    genes in the rows that perturb them (a perfect intervention whose law does not matter). Cycles
    are pushed out by the spectral radius of the matrix of probabilities.

    Args:
        screen: cells or profiles.
        rng: seeds start, batches and switches.

    Source:
        DCDI-G with perfect interventions, Brouillard et al. 2020, arXiv 2007.01754; straight-
        through Gumbel switches as there. The spectral radius in place of the matrix exponential
        follows Lee et al. 2019, arXiv 1909.11213, as in DCD-FG, arXiv 2206.07824.
    """
    rows = rows_of(screen)
    x = centred(rows)
    size = x.std(0)
    z = np.divide(x, size, out=np.zeros_like(x), where=size > 1e-12)
    own = rows.readouts.find(rows.sources)
    target_n = np.where(rows.code_n >= 0, own[rows.code_n], -1)
    score = switched_network(z, target_n, rng)
    score[size <= 1e-12] = score[:, size <= 1e-12] = 0.0
    return graph_of_scores(score, rows.readouts, rows.readouts, name="dcdi")


def switched_network(x_ng: np.ndarray, target_n: np.ndarray, rng: np.random.Generator) -> Any:
    """Return signed scores [regulator, target] of standardized genes.

    Args:
        x_ng: standardized values.
        target_n: the column each row perturbs, -1 for none.
        rng: seeds everything.
    """
    import torch

    draws = torch_generator(rng)
    n, g = x_ng.shape
    x = torch.as_tensor(x_ng, dtype=torch.float32)
    keep = torch.ones(n, g)
    hit = np.flatnonzero(target_n >= 0)
    keep[hit, target_n[hit]] = 0.0
    off = 1 - torch.eye(g)
    logits = torch.zeros(g, g, requires_grad=True)
    first = (torch.randn(g, g, WIDTH, generator=draws) * g**-0.5).requires_grad_()
    bias = torch.zeros(g, WIDTH, requires_grad=True)
    last = (torch.randn(g, WIDTH, generator=draws) * WIDTH**-0.5).requires_grad_()
    log_sd = torch.zeros(g, requires_grad=True)
    optimizer = torch.optim.Adam([logits, first, bias, last, log_sd], lr=0.04)
    for step in range(N_STEPS):
        take = torch.randint(n, (min(BATCH, n),), generator=draws)
        uniform = torch.rand(g, g, generator=draws).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid(logits + torch.log(uniform) - torch.log1p(-uniform))
        switch = ((soft > 0.5).float() - soft.detach() + soft) * off
        mean = _means(x[take], first * switch[:, :, None], bias, last)
        residual = (x[take] - mean) * torch.exp(-log_sd)
        loss = ((0.5 * residual**2 + log_sd) * keep[take]).sum(1).mean()
        probability = torch.sigmoid(logits) * off
        grown = MAX_CYCLES * max(0.0, 2 * step / N_STEPS - 1)
        loss = loss + SPARSITY * probability.sum() + grown * _radius(probability)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    probability = (torch.sigmoid(logits) * off).detach()
    return (probability * _slopes(x, first * probability[:, :, None], bias, last)).numpy()


def _means(x: Any, first: Any, bias: Any, last: Any) -> Any:
    """Return each gene's mean given the others, [n, g]."""
    import torch

    n, g = x.shape
    hidden = (x @ first.reshape(g, -1)).reshape(n, g, -1) + bias
    return (torch.nn.functional.leaky_relu(hidden, 0.25) * last).sum(-1)


def _slopes(x: Any, first: Any, bias: Any, last: Any) -> Any:
    """Return the mean change of each gene's mean with each regulator, [regulator, target]."""
    import torch

    n, g = x.shape
    with torch.no_grad():
        hidden = (x @ first.reshape(g, -1)).reshape(n, g, -1) + bias
        active = torch.where(hidden > 0, 1.0, 0.25).mean(0)
        return (first * (active * last)).sum(-1)


def _radius(probability: Any) -> Any:
    """Return the spectral radius by power iteration; 0 without cycles."""
    import torch

    with torch.no_grad():
        left = right = torch.full((len(probability),), len(probability) ** -0.5)
        for _ in range(POWER_STEPS):
            right = torch.nn.functional.normalize(probability @ right + 1e-6, dim=0)
            left = torch.nn.functional.normalize(probability.T @ left + 1e-6, dim=0)
    return (left @ probability @ right) / (left @ right).clamp_min(1e-6)


card = GrnCard(
    name="dcdi",
    summary="an acyclic model of interventions with switches, by gradient descent",
    source="Brouillard et al. 2020, arXiv 2007.01754; DCD-FG, arXiv 2206.07824",
    fn=dcdi,
    max_genes=150,
)
