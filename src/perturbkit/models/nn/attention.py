"""Attention of tokens to each other: torch's fused kernel, and a faster way to train on CPUs."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 2**20
"""weights computed at once: as many as stay in a core's cache"""
_KEPT = 32_000_000
"""weights kept for the backward pass; more are computed again"""


def self_attend(packed: Tensor, mask_bn: Tensor | None = None) -> Tensor:
    """Return softmax(q k' / sqrt(d)) v of every token, [b, n, heads, d].

    On CPUs the fused kernel's backward pass takes several times the time of plain matrix products
    in bfloat16, so training goes through these.

    Args:
        packed: queries, keys and values, [b, n, 3, heads, d].
        mask_bn: which tokens are there.
    """
    if mask_bn is None and packed.device.type == "cpu" and packed.requires_grad:
        # loops over cells, which a compiler would unroll
        products: Any = torch.compiler.disable(_Products.apply)
        return products(packed)
    allowed = None if mask_bn is None else mask_bn[:, None, None, :]
    query, key, value = (x.transpose(1, 2) for x in packed.unbind(2))
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    return out.transpose(1, 2)


class _Products(torch.autograd.Function):
    """Attention of [b, n, 3, heads, d] by matrix products over a few heads of a cell at a time.

    Scratch is used again and again: fresh memory of this size costs more than the products.
    """

    @staticmethod
    def forward(ctx: Any, packed: Tensor) -> Tensor:
        packed = packed.contiguous()
        out = torch.empty_like(packed[:, :, 0])
        parts = _parts(packed)
        scores = _scratch(packed)
        keep = len(packed) * packed.shape[3] * packed.shape[1] ** 2 <= _KEPT
        kept: list[Tensor] = []
        # under autocast softmax would leave bfloat16, and with it the speed
        with torch.autocast("cpu", enabled=False):
            for cell, heads in parts:
                query, key, value = _of(packed, cell, heads)
                scratch = scores[: len(query)]
                # in pieces, since the allocator maps anew what is larger than 32 MB
                weights = torch.empty_like(scratch) if keep else scratch
                _weigh(query, key, scratch, weights)
                torch.bmm(weights, value, out=_head_first(out[cell, :, heads]))
                kept += [weights] if keep else []
        ctx.save_for_backward(packed, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        packed, *kept = ctx.saved_tensors
        d_out = gradients[0].to(packed.dtype)
        d_packed = torch.empty_like(packed)
        scores, d_scores = _scratch(packed), _scratch(packed)
        scale = packed.shape[-1] ** -0.5
        with torch.autocast("cpu", enabled=False):
            for i, (cell, heads) in enumerate(_parts(packed)):
                query, key, value = _of(packed, cell, heads)
                n = len(query)
                weights = kept[i] if kept else scores[:n]
                if not kept:
                    _weigh(query, key, weights, weights)
                d_query, d_key, d_value = _of(d_packed, cell, heads)
                d_gathered = _head_first(d_out[cell, :, heads])
                torch.bmm(weights.transpose(1, 2), d_gathered, out=d_value)
                torch.bmm(d_gathered, value.transpose(1, 2), out=d_scores[:n])
                torch._softmax_backward_data(
                    d_scores[:n], weights, -1, weights.dtype, grad_input=d_scores[:n]
                )
                torch.bmm(d_scores[:n], key, out=d_query)
                torch.bmm(d_scores[:n].transpose(1, 2), query, out=d_key)
        d_packed[:, :, :2] *= scale
        return d_packed


def _parts(packed: Tensor) -> list[tuple[int, slice]]:
    """Return cells and heads that are computed together."""
    _, n, _, n_heads, _ = packed.shape
    step = max(1, min(n_heads, _AT_ONCE // n**2))
    return [(cell, slice(low, low + step))
            for cell in range(len(packed)) for low in range(0, n_heads, step)]  # fmt: skip


def _scratch(packed: Tensor) -> Tensor:
    _, n, _, n_heads, _ = packed.shape
    return packed.new_empty(max(1, min(n_heads, _AT_ONCE // n**2)), n, n)


def _of(packed: Tensor, cell: int, heads: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Return views of the queries, keys and values of some heads, [heads, n, d] each."""
    query, key, value = (_head_first(x) for x in packed[cell, :, :, heads].unbind(1))
    return query, key, value


def _head_first(x_nhd: Tensor) -> Tensor:
    return x_nhd.transpose(0, 1)


def _weigh(query: Tensor, key: Tensor, scores: Tensor, weights: Tensor) -> None:
    """Write softmax(q k' / sqrt(d)) to `weights`; `scores` may be the same memory."""
    torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2), out=scores)
    torch.softmax(scores, -1, out=weights)
