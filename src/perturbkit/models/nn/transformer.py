"""A pre-norm transformer over a set: no positions, so permuting the tokens permutes the output."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perturbkit.core.rng import torch_generator
from perturbkit.models.nn.attention import self_attend
from perturbkit.models.nn.graph import linear


class Attention(nn.Module):
    """Multi-head attention; flash where the device has it."""

    def __init__(self, width: int, n_heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = linear(width, width, generator)
        self.key_value = linear(width, 2 * width, generator)
        self.out = linear(width, width, generator)

    def forward(self, x_bnd: Tensor, mask_bn: Tensor | None, n_read: int = 0) -> Tensor:
        """Return what the first `n_read` tokens (0: all) gather from all of them, [b, q, d]."""
        if n_read:
            return self.out(self._few(x_bnd, mask_bn, n_read))
        weight = torch.cat([self.query.weight, self.key_value.weight])
        bias = torch.cat([self.query.bias, self.key_value.bias])
        packed = functional.linear(x_bnd, weight, bias).unflatten(-1, (3, self.n_heads, -1))
        return self.out(self_attend(packed, mask_bn).flatten(-2))

    def _few(self, x_bnd: Tensor, mask_bn: Tensor | None, n_read: int) -> Tensor:
        """Project a few queries back rather than every token forwards, which is the same.

        q (W x) = (W' q) x, and sum a (W x) = W sum a x; the bias of the keys moves all scores of a
        query alike, which softmax does not feel.
        """
        x = lowered(x_bnd)
        to_key, to_value = self.key_value.weight.unflatten(0, (2, self.n_heads, -1))
        query = self.query(x[:, :n_read]).unflatten(-1, (self.n_heads, -1))
        asked = torch.einsum("bqhe,hed->bqhd", query, to_key) * query.shape[-1] ** -0.5
        scores = asked.flatten(1, 2) @ x.transpose(1, 2)
        if mask_bn is not None:
            scores = scores.masked_fill(~mask_bn[:, None], -torch.inf)
        gathered = (scores.softmax(-1) @ x).unflatten(1, (n_read, self.n_heads))
        bias = self.key_value.bias[len(self.key_value.bias) // 2 :]
        return torch.einsum("bqhd,hed->bqhe", gathered, to_value).flatten(-2) + bias


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
        x = x_bnd[:, :n_read] if n_read else x_bnd
        x = x + self.drop(self.attention(self.norm(x_bnd), mask_bn, n_read))
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
        x_bnd, last = lowered(x_bnd), len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            read = n_read if i == last else 0
            if self.checkpointing and self.training:
                x_bnd = checkpoint(layer, x_bnd, mask_bn, read, use_reentrant=False)  # type: ignore[assignment]
            else:
                x_bnd = layer(x_bnd, mask_bn, read)
        return self.norm(x_bnd)


def lowered(x: Tensor) -> Tensor:
    """Return `x` in the precision that autocast multiplies in, so that what is added follows."""
    device = x.device.type
    enabled = torch.is_autocast_enabled(device)
    return x.to(torch.get_autocast_dtype(device)) if enabled else x
