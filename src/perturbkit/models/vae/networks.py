"""Encoder and decoder: residual layers over a sum of what each source projects to.

The first layer of a concatenation is the sum of a layer on each part. So what all particles share
(the cell's values) is projected once, and a condition's effect once for all its cells.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_LOG_VAR = 10.0
"""bounds of the log variance of a cell's latent state"""


class Residual(nn.Module):
    """n_layers times u <- u + LeakyReLU(W u + b)."""

    def __init__(self, width: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(n_layers))

    def forward(self, u: Tensor) -> Tensor:
        """Return the last hidden layer, shape of `u`."""
        for layer in self.layers:
            u = u + functional.leaky_relu(layer(u))
        return u


class Beside(nn.Module):
    """What stands beside the main input and adds to the first hidden layer.

    Context and batch add nothing at the start of training.

    Args:
        effect: width of a perturbation's effect, 0 where it does not stand here.
        artefact: width of the artefact's vector, 0 for none.
        n_contexts: number of contexts.
        n_batches: number of batches.
        hidden: width of the hidden layer.
    """

    def __init__(
        self, effect: int, artefact: int, n_contexts: int, n_batches: int, hidden: int
    ) -> None:
        super().__init__()
        self.effect = nn.Linear(effect, hidden, bias=False) if effect else None
        self.artefact = nn.Linear(artefact, hidden, bias=False) if artefact else None
        self.context = nn.Parameter(torch.zeros(n_contexts, hidden))
        self.batch = nn.Parameter(torch.zeros(n_batches, hidden))

    def forward(
        self, context: Tensor, batch: Tensor, effect: Tensor | None, artefact: Tensor | None
    ) -> Tensor:
        """Return the sum, [n, h] or [s, n, h].

        Args:
            context: code of each cell, [n].
            batch: code of each cell, [n].
            effect: what `self.effect` made of the effect of each cell's condition, [s, n, h].
            artefact: each cell's artefact, [s, n, artefact].
        """
        total = self.context[context] + self.batch[batch]
        if effect is not None:
            total = total + effect
        if artefact is not None and self.artefact is not None:
            total = total + self.artefact(artefact)
        return total


class Encoder(nn.Module):
    """Mean and log variance of a cell's latent state.

    Args:
        n_readouts: width of the cell's values.
        latent: width of the state.
        hidden: width of the hidden layers.
        n_layers: hidden layers.
        beside: what adds to the first of them.
    """

    def __init__(
        self, n_readouts: int, latent: int, hidden: int, n_layers: int, beside: Beside
    ) -> None:
        super().__init__()
        self.from_cell = nn.Linear(n_readouts, hidden)
        self.beside = beside
        self.hidden = Residual(hidden, n_layers - 1)
        self.heads = nn.Linear(hidden, 2 * latent)

    def forward(self, projected: Tensor, beside: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, [s, n, latent] each; s is 1 where all particles agree.

        Args:
            projected: what `from_cell` made of the cells, [n, h].
            beside: what `beside` gave, [n, h] or [s, n, h].
        """
        u = projected + beside
        u = u[None] if u.dim() == 2 else u
        mean, log_var = self.heads(self.hidden(functional.leaky_relu(u))).float().chunk(2, -1)
        return mean, log_var.clamp(-_LOG_VAR, _LOG_VAR)


class Decoder(nn.Module):
    """The likelihood's parameter of every readout.

    Args:
        latent: width of the cell's state.
        hidden: width of the hidden layers.
        n_layers: hidden layers.
        n_readouts: width of the output.
        beside: what adds to the first hidden layer.
    """

    def __init__(
        self, latent: int, hidden: int, n_layers: int, n_readouts: int, beside: Beside
    ) -> None:
        super().__init__()
        self.from_state = nn.Linear(latent, hidden)
        self.beside = beside
        self.hidden = Residual(hidden, n_layers - 1)
        self.out = nn.Linear(hidden, n_readouts)

    def forward(self, state: Tensor, beside: Tensor) -> Tensor:
        """Return [s, n, g] of states [s, n, latent] and what `beside` gave, [n, h] or [s, n, h]."""
        return self.out(self.hidden(functional.leaky_relu(self.from_state(state) + beside)))


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of every linear layer again, of unit gain; biases zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
