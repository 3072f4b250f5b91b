"""Cell sentences: the genes of a cell by falling expression, and how much there is of each."""

import numpy as np
import torch
from torch import Tensor, nn

from perturbkit.core.rng import torch_generator
from perturbkit.models.nn.graph import linear

TIED = 1e-6
"""Log values nearer than this count as tied."""


def sentences(
    x_ng: Tensor, length: int, order_ng: Tensor, hidden_g: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return which genes stand for each cell, and their values.

    The genes with the largest values come first, tied ones by `order_ng`; unexpressed genes,
    which all tie, fill what is left. A gene is listed once.

    Args:
        x_ng: log-normalised values, not below 0.
        length: genes in a sentence; all of them where there are fewer.
        order_ng: numbers in [0, 1) that break ties, [n, g]; random while training, so that each
            epoch sees other unexpressed genes, one row [1, g] for all cells otherwise, so that a
            cell's sentence does not depend on its batch.
        hidden_g: genes that no sentence may hold, bool [g].

    Returns:
        Positions of genes, int64 [n, length], and values [n, length].
    """
    key = x_ng.double() + TIED * order_ng  # float32 has no room for the ties of large values
    n_free = x_ng.shape[1]
    if hidden_g is not None:
        key = key.masked_fill(hidden_g, -1.0)
        n_free -= int(hidden_g.sum())
    chosen = key.topk(min(length, n_free), dim=1).indices
    return chosen, x_ng.gather(1, chosen)


def draw_hidden(
    x_ng: Tensor, n_hidden: int, generator: torch.Generator, expressed: float = 0.5
) -> Tensor:
    """Draw genes to hide from all cells of a batch and ask for, int64 [n_hidden], sorted.

    Half of them at least, where there are as many, are genes that a share of the cells express,
    since most genes are silent in most cells.

    Args:
        x_ng: values.
        n_hidden: how many.
        generator: draws them.
        expressed: share of genes drawn in proportion to how many cells express them.
    """
    n_genes = x_ng.shape[1]
    rate = (x_ng > 0).float().mean(0).cpu()
    weight = expressed * rate / rate.sum().clamp_min(1e-9) + (1 - expressed) / n_genes
    return torch.multinomial(weight, n_hidden, generator=generator).sort().values


class SoftBins(nn.Module):
    """How much of a gene there is, as a mixture of learned vectors.

    softmax(MLP(w)) E with w = 100 x / sum(x): the share of the gene in its cell, so that depth
    does not matter.

    Args:
        width: length of the vectors.
        rng: initialises the weights.
        n_bins: vectors that are mixed.
        hidden: width of the MLP.
    """

    def __init__(
        self, width: int, rng: np.random.Generator, *, n_bins: int = 10, hidden: int = 64
    ) -> None:
        super().__init__()
        generator = torch_generator(rng)
        first, last = linear(2, hidden, generator), linear(hidden, n_bins, generator)
        self.mlp = nn.Sequential(first, nn.LeakyReLU(), last)
        # as large as the gene tokens they are added to, and told apart from the start
        self.bins = nn.Parameter(torch.randn(n_bins, width, generator=generator))
        with torch.no_grad():
            first.weight.mul_(2)
            last.weight.mul_(4)

    def forward(self, values_nl: Tensor) -> Tensor:
        """Return a vector for each value, [n, l, d]."""
        share = 100 * values_nl / values_nl.sum(1, keepdim=True).clamp_min(1e-6)
        # the log tells rare genes apart, which the share itself squeezes together
        return self.mlp(torch.stack([share, torch.log1p(share)], -1)).softmax(-1) @ self.bins
