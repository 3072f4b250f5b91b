"""A pre-norm transformer over a set: no positions, so permuting the tokens permutes the output."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perturbkit.core.rng import torch_generator
from perturbkit.models.nn.attention import attend
from perturbkit.models.nn.graph import linear


class Attention(nn.Module):
    """Multi-head attention; flash where the device has it."""

    def __init__(self, width: int, n_heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = linear(width, width, generator)
        self.key_value = linear(width, 2 * width, generator)
        self.out = linear(width, width, generator)

    def forward(self, query_bqd: Tensor, seen_bnd: Tensor, mask_bn: Tensor | None) -> Tensor:
        """Return what each query gathers from the tokens seen, [b, q, d]."""
        q = self._heads(self.query(query_bqd))
        k, v = (self._heads(x) for x in self.key_value(seen_bnd).chunk(2, -1))
        gathered = attend(q, k, v, mask_bn)
        return self.out(gathered.transpose(1, 2).flatten(-2))

    def _heads(self, x_bnd: Tensor) -> Tensor:
        return x_bnd.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(
        self, width: int, n_heads: int, hidden: int, dropout: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.norm, self.norm_after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, n_heads, generator)
        self.up, self.down = linear(width, hidden, generator), linear(hidden, width, generator)
        self.drop = nn.Dropout(dropout)

    def forward(self, x_bnd: Tensor, mask_bn: Tensor | None, n_read: int = 0) -> Tensor:
        """Return the tokens updated; with `n_read`, only the first so many, from all."""
        seen = self.norm(x_bnd)
        x, query = (x_bnd[:, :n_read], seen[:, :n_read]) if n_read else (x_bnd, seen)
        x = x + self.drop(self.attention(query, seen, mask_bn))
        hidden = functional.gelu(self.up(self.norm_after(x)))
        return x + self.drop(self.down(hidden))


class SetTransformer(nn.Module):
    """Layers of attention over tokens without order.

    Args:
        width: length of a token's vector; a multiple of `n_heads`.
        n_heads: attention heads.
        hidden: width of the feed-forward layers.
        n_layers: number of layers.
        rng: initialises the weights.
        dropout: share of what a layer adds that is set to zero while training.
        checkpointing: whether the backward pass recomputes each layer rather than keep it.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        hidden: int,
        n_layers: int,
        rng: np.random.Generator,
        *,
        dropout: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        generator = torch_generator(rng)
        self.layers = nn.ModuleList(
            Layer(width, n_heads, hidden, dropout, generator) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.checkpointing = checkpointing

    def forward(self, x_bnd: Tensor, mask_bn: Tensor | None = None, n_read: int = 0) -> Tensor:
        """Return the tokens after all layers, [b, n or n_read, d].

        Args:
            x_bnd: tokens.
            mask_bn: which tokens are there; the others are seen by none.
            n_read: how many of the first tokens the caller reads; the last layer then computes
                no others, which changes nothing else. 0 for all.
        """
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            read = n_read if i == last else 0
            if self.checkpointing and self.training:
                x_bnd = checkpoint(layer, x_bnd, mask_bn, read, use_reentrant=False)  # type: ignore[assignment]
            else:
                x_bnd = layer(x_bnd, mask_bn, read)
        return self.norm(x_bnd)
