"""Operations in the Poincare ball of curvature -c, accurate in float32 and finite everywhere.

Points are rows of `[..., d]`; `c > 0` is a float or a scalar tensor, and the ball has radius
1/sqrt(c). A point at distance r from the origin has the tangent (`logmap0`) of norm r/2.

Three rules keep float32 good to 1e-5 where the textbook forms lose every digit:

1. `1 - c |x|^2` is summed in float64, for near the rim it decides everything;
2. sums of nearly opposite terms are rewritten as sums of positive ones;
3. norms have the gradient 0 at 0, so isolated and coincident points never give NaN.

Where points can be stored as tangents at the origin, do so and use `dist_tangent`: those cannot
leave the ball, follow a changing curvature, and need no manifold optimizer.

Source: Ungar's gyrovector spaces as in Ganea et al. 2018 (arXiv:1805.09112); the choice of
representation follows Mishne et al. 2023 (arXiv:2211.00181).
"""

import math

import torch
from torch import Tensor

from perturbkit.models.nn import fused

Curvature = float | Tensor
"""Magnitude of the negative curvature, above 0."""
_TINY = 1e-15
MAX_HALF_RADIUS = 20.0
"""Tangents count as at most this long (in units of 1/sqrt(c)): distances of 40 from the origin."""


def square_norm(x: Tensor) -> Tensor:
    """Return |x|^2 of each row as float64 [..., 1], whatever the type of `x`."""
    return x.double().square().sum(-1, keepdim=True)


def norm(x: Tensor) -> Tensor:
    """Return |x| of each row, [..., 1], at least 1e-15; the gradient at 0 is 0."""
    return x.square().sum(-1, keepdim=True).clamp_min(_TINY**2).sqrt()


def root(square: Tensor) -> Tensor:
    """Return the square root, exactly 0 and with gradient 0 where `square` is not above 0."""
    positive = square > 0
    return torch.where(positive, square, 1.0).sqrt() * positive


def expmap0(v: Tensor, c: Curvature = 1.0) -> Tensor:
    """Map a tangent at the origin into the ball: tanh(sqrt(c)|v|) v / (sqrt(c)|v|)."""
    if _constant(c) and fused.usable(v):
        return fused.ExpMap0.apply(v, float(c))
    r = norm(v) * _sqrt(c)
    return v * (torch.tanh(r) / r)


def logmap0(x: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the tangent at the origin of a point; the inverse of `expmap0`."""
    square = square_norm(x) * c
    rim = 1.0 - torch.finfo(x.dtype).eps / 2
    r = square.clamp(_TINY**2, rim**2).sqrt()
    return x * (torch.atanh(r) / r).to(x.dtype)


def gap(x: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return 1 - c|x|^2 of each row, [..., 1], at least the half spacing of the type at the rim."""
    least = torch.finfo(x.dtype).eps / 2
    return (1.0 - square_norm(x) * c).clamp_min(least).to(x.dtype)


def mobius_add(x: Tensor, y: Tensor, c: Curvature = 1.0) -> Tensor:
    """Add two points: the gyrovector sum x + y, which is y translated by x.

    Written as [c s x + (1 - c|x|^2) t] / [c s + (1 - c|x|^2)(1 - c|y|^2)] with t = x + y and
    s = |t|^2, where every term of the denominator is positive.
    """
    if _constant(c) and fused.usable(x, y):
        return fused.MobiusAdd.apply(x, y, float(c))
    t = x + y
    s = c * t.square().sum(-1, keepdim=True)
    gap_x = gap(x, c)
    return (s * x + gap_x * t) / (s + gap_x * gap(y, c))


def dist(x: Tensor, y: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the distance of points given in the ball, [...]; 0 for equal points.

    (2/sqrt c) asinh(sqrt(c)|x - y| / sqrt((1 - c|x|^2)(1 - c|y|^2))).
    """
    if _constant(c) and fused.usable(x, y):
        return fused.Dist.apply(x, y, float(c))
    square = (x - y).square().sum(-1, keepdim=True) * c
    z = root(square / (gap(x, c) * gap(y, c)))
    return (2.0 * torch.asinh(z) / _sqrt(c)).squeeze(-1)


def dist_tangent(u: Tensor, v: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the distance of points given by their tangents at the origin, [...].

    The half-angle form of the hyperbolic law of cosines,
    sinh^2(d/2) = sinh^2(a - b) + sinh(2a) sinh(2b) |u/|u| - v/|v||^2 / 4 with a = sqrt(c)|u| and
    b = sqrt(c)|v|: two positive terms, so nothing cancels and nothing needs projecting.
    """
    n_u, n_v, more, chord = polar_difference(u, v)
    a = (n_u * _sqrt(c)).clamp_max(MAX_HALF_RADIUS)
    b = (n_v * _sqrt(c)).clamp_max(MAX_HALF_RADIUS)
    across = 0.25 * torch.sinh(2 * a) * torch.sinh(2 * b) * chord
    square = torch.sinh((more * _sqrt(c)).clamp(-MAX_HALF_RADIUS, MAX_HALF_RADIUS)).square()
    return (2.0 * torch.asinh(root(square + across)) / _sqrt(c)).squeeze(-1)


def polar_difference(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return |u|, |v|, |u| - |v| and |u/|u| - v/|v||^2, each [..., 1], the last two from u - v.

    So vectors that nearly agree lose no digits: the difference of nearly equal numbers is exact,
    that of their rounded norms and directions is not.
    """
    n_u, n_v = norm(u), norm(v)
    difference = u - v
    more = (difference * (u + v)).sum(-1, keepdim=True) / (n_u + n_v)
    swap = n_u < n_v
    small, large = torch.where(swap, u / n_u, v / n_v), torch.where(swap, n_v, n_u)
    chord = ((difference - small * more) / large).square().sum(-1, keepdim=True)
    return n_u, n_v, more, chord


def expmap(x: Tensor, v: Tensor, c: Curvature = 1.0) -> Tensor:
    """Follow the geodesic from x in the direction v (a tangent at x) for one unit of time."""
    r = norm(v) * _sqrt(c)
    step = v * (torch.tanh(r / gap(x, c)) / r)
    return mobius_add(x, step, c)


def logmap(x: Tensor, y: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the tangent at x that leads to y; the inverse of `expmap`."""
    return logmap0(mobius_add(-x, y, c), c) * gap(x, c)


def gyration(a: Tensor, b: Tensor, v: Tensor, c: Curvature = 1.0) -> Tensor:
    """Rotate v by gyr[a, b], the rotation by which Mobius addition fails to associate."""
    a2, b2 = square_norm(a).to(a.dtype), square_norm(b).to(b.dtype)
    ab, av, bv = ((p * q).sum(-1, keepdim=True) for p, q in ((a, b), (a, v), (b, v)))
    along_a = -c * c * av * b2 + c * bv + 2 * c * c * ab * bv
    along_b = -c * c * bv * a2 - c * av
    denominator = c * (a + b).square().sum(-1, keepdim=True) + gap(a, c) * gap(b, c)
    return v + 2.0 * (along_a * a + along_b * b) / denominator


def transport(x: Tensor, y: Tensor, v: Tensor, c: Curvature = 1.0) -> Tensor:
    """Carry a tangent v at x along the geodesic to y; lengths are kept."""
    return gyration(y, -x, v, c) * (gap(y, c) / gap(x, c))


def transport0(x: Tensor, v: Tensor, c: Curvature = 1.0) -> Tensor:
    """Carry a tangent v at the origin to x."""
    return v * gap(x, c)


def project(x: Tensor, c: Curvature = 1.0) -> Tensor:
    """Pull points that rounding put on or beyond the rim just inside it; others stay."""
    limit = (1.0 - 4 * torch.finfo(x.dtype).eps) / _sqrt(c)
    return x * (limit / norm(x)).clamp_max(1.0)


def midpoint(x: Tensor, weight: Tensor | None = None, c: Curvature = 1.0) -> Tensor:
    """Return the weighted gyro-midpoint of the points along the last axis but one.

    Args:
        x: points, [..., k, d].
        weight: not negative, [..., k]; equal by default.
        c: curvature.
    """
    lam = 2.0 / gap(x, c)
    w = torch.ones_like(x[..., :1]) if weight is None else weight.unsqueeze(-1)
    total = (w * (lam - 1.0)).sum(-2).clamp_min(_TINY)
    mean = project((w * lam * x).sum(-2) / total, c)
    return expmap0(0.5 * logmap0(mean, c), c)


def _constant(c: Curvature) -> bool:
    return not isinstance(c, Tensor) or (c.device.type == "cpu" and not c.requires_grad)


def _sqrt(c: Curvature) -> Curvature:
    return c.sqrt() if isinstance(c, Tensor) else math.sqrt(c)
