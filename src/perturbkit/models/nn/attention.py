"""Attention of queries to tokens: torch's fused kernel, and a faster way to train on CPUs."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 4_000_000
"""weights computed at once"""
_KEPT = 32_000_000
"""weights kept for the backward pass; more are computed again"""


def attend(query: Tensor, key: Tensor, value: Tensor, mask_bn: Tensor | None = None) -> Tensor:
    """Return softmax(q k' / sqrt(d)) v, [b, heads, q, d].

    On CPUs the fused kernel's backward pass takes several times the time of plain matrix products
    in bfloat16, so training goes through these.

    Args:
        query: [b, heads, q, d].
        key: [b, heads, n, d].
        value: [b, heads, n, d].
        mask_bn: which tokens are there.
    """
    if mask_bn is None and query.device.type == "cpu" and query.requires_grad:
        flat = (x.flatten(0, 1).contiguous() for x in (query, key, value))
        return _Products.apply(*flat).view_as(query)
    allowed = None if mask_bn is None else mask_bn[:, None, None, :]
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)


def _weights(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.transpose(1, 2)).mul_(query.shape[-1] ** -0.5).softmax(-1)


class _Products(torch.autograd.Function):
    """Attention by matrix products over a few heads at a time, [heads, q, d]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        size = query.shape[1] * key.shape[1]
        step = max(1, _AT_ONCE // size)
        keep = len(query) * size <= _KEPT
        kept = []
        # under autocast softmax would leave bfloat16, and with it the speed
        with torch.autocast("cpu", enabled=False):
            for low in range(0, len(query), step):
                part = slice(low, low + step)
                weights = _weights(query[part], key[part])
                torch.bmm(weights, value[part], out=out[part])
                kept += [weights] if keep else []
        ctx.step = step
        ctx.save_for_backward(query, key, value, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *kept = ctx.saved_tensors
        (d_out,) = gradients
        d_out = d_out.contiguous().to(query.dtype)
        d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, value))
        scale = query.shape[-1] ** -0.5
        with torch.autocast("cpu", enabled=False):
            for i, low in enumerate(range(0, len(query), ctx.step)):
                part = slice(low, low + ctx.step)
                weights = kept[i] if kept else _weights(query[part], key[part])
                torch.bmm(weights.transpose(1, 2), d_out[part], out=d_value[part])
                d_weights = d_out[part] @ value[part].transpose(1, 2)
                d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
                torch.bmm(d_scores, key[part], out=d_query[part])
                torch.bmm(d_scores.transpose(1, 2), query[part], out=d_key[part])
        return d_query.mul_(scale), d_key.mul_(scale), d_value
