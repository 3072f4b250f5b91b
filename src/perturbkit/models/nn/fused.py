"""One-pass CPU kernels of the hot Poincare operations, forward and backward, compiled by numba.

Each kernel visits a row once, keeps its sums in float64 registers and writes only the result, so
a call moves the least memory possible. `poincare.py` uses them for plain CPU tensors and constant
curvature, and its composed forms otherwise (other devices, learnable curvature, `torch.compile`).
The formulas are those documented there.
"""

import math

import numba
import numpy as np
import torch
from torch import Tensor

_jit = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
_TINY = 1e-30


def usable(*tensors: Tensor) -> bool:
    """Return whether the fused kernels may take these tensors in place of the composed forms."""
    first = tensors[0]
    return (
        not torch.compiler.is_compiling()
        and first.dtype in (torch.float32, torch.float64)
        and first.dim() >= 1
        and all(
            t.device.type == "cpu" and t.dtype == first.dtype and t.shape == first.shape
            for t in tensors
        )
    )


def rows(x: Tensor) -> np.ndarray:
    """Return a tensor as contiguous rows [n, d], without a copy where it already is."""
    return x.detach().reshape(-1, x.shape[-1]).contiguous().numpy()


@_jit
def expmap0_rows(v, root_c, out):  # noqa: ANN001, ANN201
    """Write out = tanh(r)/r v with r = root_c |v|."""
    n, d = v.shape
    for i in range(n):
        s = 0.0
        for j in range(d):
            s += np.float64(v[i, j]) * v[i, j]
        r = root_c * math.sqrt(max(s, _TINY))
        f = v.dtype.type(math.tanh(r) / r)
        for j in range(d):
            out[i, j] = f * v[i, j]


@_jit
def expmap0_back(v, g, root_c, out):  # noqa: ANN001, ANN201
    """Gradient of `expmap0_rows`: f g + (df/dr / r) root_c^2 (g.v) v."""
    n, d = v.shape
    for i in range(n):
        s, gv = 0.0, 0.0
        for j in range(d):
            s += np.float64(v[i, j]) * v[i, j]
            gv += np.float64(g[i, j]) * v[i, j]
        r = root_c * math.sqrt(max(s, _TINY))
        t = math.tanh(r)
        f = t / r
        near = -2.0 / 3.0 + 8.0 * r * r / 15.0
        slope = near if r < 1e-2 else ((1.0 - t * t) - f) / (r * r)
        a, b = v.dtype.type(f), v.dtype.type(slope * root_c * root_c * gv)
        for j in range(d):
            out[i, j] = a * g[i, j] + b * v[i, j]


@_jit
def mobius_rows(x, y, c, least, out):  # noqa: ANN001, ANN201
    """Write out = [c s x + gap_x t] / [c s + gap_x gap_y], t = x + y, s = |t|^2."""
    n, d = x.shape
    for i in range(n):
        xx, yy, s = 0.0, 0.0, 0.0
        for j in range(d):
            a, b = np.float64(x[i, j]), np.float64(y[i, j])
            xx += a * a
            yy += b * b
            s += (a + b) * (a + b)
        s *= c
        gap_x, gap_y = max(1.0 - c * xx, least), max(1.0 - c * yy, least)
        total = s + gap_x * gap_y
        p, q = x.dtype.type(s / total), x.dtype.type(gap_x / total)
        for j in range(d):
            out[i, j] = p * x[i, j] + q * (x[i, j] + y[i, j])


@_jit
def mobius_back(x, y, g, c, least, g_x, g_y):  # noqa: ANN001, ANN201
    """Gradients of `mobius_rows`."""
    n, d = x.shape
    for i in range(n):
        xx, yy, s, gx, gt = 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(d):
            a, b, h = np.float64(x[i, j]), np.float64(y[i, j]), np.float64(g[i, j])
            t = a + b
            xx += a * a
            yy += b * b
            s += t * t
            gx += h * a
            gt += h * t
        s *= c
        gap_x, gap_y = max(1.0 - c * xx, least), max(1.0 - c * yy, least)
        total = s + gap_x * gap_y
        p, q, gx, gt = s / total, gap_x / total, gx / total, gt / total
        to_t = 2.0 * c * (gx * (1.0 - p) - gt * q)
        to_x = -2.0 * c * (gt * p - gx * p * gap_y) * (1.0 - c * xx > least)
        to_y = 2.0 * c * (gx * p + gt * q) * gap_x * (1.0 - c * yy > least)
        kind = x.dtype.type
        p_, q_, t_, x_, y_ = kind(p), kind(q), kind(to_t), kind(to_x), kind(to_y)
        for j in range(d):
            both = q_ * g[i, j] + t_ * (x[i, j] + y[i, j])
            g_x[i, j] = both + p_ * g[i, j] + x_ * x[i, j]
            g_y[i, j] = both + y_ * y[i, j]


@_jit
def dist_rows(x, y, c, least, out):  # noqa: ANN001, ANN201
    """Write out = (2/sqrt c) asinh(sqrt(c) |x - y| / sqrt(gap_x gap_y))."""
    n, d = x.shape
    for i in range(n):
        xx, yy, s = 0.0, 0.0, 0.0
        for j in range(d):
            a, b = np.float64(x[i, j]), np.float64(y[i, j])
            xx += a * a
            yy += b * b
            s += (a - b) * (a - b)
        gap_x, gap_y = max(1.0 - c * xx, least), max(1.0 - c * yy, least)
        out[i] = 2.0 / math.sqrt(c) * math.asinh(math.sqrt(c * s / (gap_x * gap_y)))


@_jit
def dist_back(x, y, g, c, least, g_x, g_y):  # noqa: ANN001, ANN201
    """Gradients of `dist_rows`; 0 for equal points."""
    n, d = x.shape
    for i in range(n):
        xx, yy, s = 0.0, 0.0, 0.0
        for j in range(d):
            a, b = np.float64(x[i, j]), np.float64(y[i, j])
            xx += a * a
            yy += b * b
            s += (a - b) * (a - b)
        gap_x, gap_y = max(1.0 - c * xx, least), max(1.0 - c * yy, least)
        square = c * s / (gap_x * gap_y)
        # d(dist)/d(square) * d(square)/d(.), written so that equal points give 0
        kind = x.dtype.type
        to_s, to_x, to_y = kind(0.0), kind(0.0), kind(0.0)
        if s > 0.0:
            slope = g[i] / math.sqrt(c) / math.sqrt(square * (1.0 + square)) * square
            to_s = kind(2.0 * slope / s)
            to_x = kind(2.0 * c * slope / gap_x * (1.0 - c * xx > least))
            to_y = kind(2.0 * c * slope / gap_y * (1.0 - c * yy > least))
        for j in range(d):
            t = to_s * (x[i, j] - y[i, j])
            g_x[i, j] = t + to_x * x[i, j]
            g_y[i, j] = to_y * y[i, j] - t


class ExpMap0(torch.autograd.Function):
    """`expmap0` of constant curvature."""

    @staticmethod
    def forward(ctx, v: Tensor, c: float) -> Tensor:  # noqa: ANN001, D102  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(v)
        ctx.root_c = math.sqrt(c)
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        expmap0_rows(rows(v), ctx.root_c, _view(out))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:  # noqa: ANN001, D102  # pyright: ignore[reportIncompatibleMethodOverride]
        (v,) = ctx.saved_tensors
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        expmap0_back(rows(v), rows(g), ctx.root_c, _view(out))
        return out, None


class MobiusAdd(torch.autograd.Function):
    """`mobius_add` of constant curvature."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, c: float) -> Tensor:  # noqa: ANN001, D102  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, y)
        ctx.c, ctx.least = c, torch.finfo(x.dtype).eps / 2
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        mobius_rows(rows(x), rows(y), c, ctx.least, _view(out))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN001, D102  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y = ctx.saved_tensors
        g_x, g_y = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
        mobius_back(rows(x), rows(y), rows(g), ctx.c, ctx.least, _view(g_x), _view(g_y))
        return g_x, g_y, None


class Dist(torch.autograd.Function):
    """`dist` of constant curvature."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, c: float) -> Tensor:  # noqa: ANN001, D102  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, y)
        ctx.c, ctx.least = c, torch.finfo(x.dtype).eps / 2
        out = torch.empty(x.shape[:-1], dtype=x.dtype)
        dist_rows(rows(x), rows(y), c, ctx.least, out.view(-1).numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN001, D102  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y = ctx.saved_tensors
        g_x, g_y = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
        flat = g.detach().reshape(-1).contiguous().numpy()
        dist_back(rows(x), rows(y), flat, ctx.c, ctx.least, _view(g_x), _view(g_y))
        return g_x, g_y, None


def _view(x: Tensor) -> np.ndarray:
    return x.view(-1, x.shape[-1]).numpy()
