"""Operations on the hyperboloid of curvature -c, its points kept as space-like coordinates only.

A point is its d space-like coordinates x; the time-like one is sqrt(1/c + |x|^2), recomputed, so
no point is ever off the manifold. The tangent at the origin of a point at distance r has norm r
(in the ball of `poincare.py` it has r/2: there the metric at the origin is 4).

Source: Nickel & Kiela 2018 (arXiv:1806.03417); the distance in half-angle form instead of arcosh.
"""

import torch
from torch import Tensor

from perturbkit.models.nn import poincare
from perturbkit.models.nn.poincare import Curvature, norm, polar_difference, root

MAX_RADIUS = 2 * poincare.MAX_HALF_RADIUS
"""Tangents count as at most this long (in units of 1/sqrt(c))."""
_TINY = 1e-15


def time(x: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the time-like coordinate, [..., 1]."""
    return (1.0 / c + x.square().sum(-1, keepdim=True)).sqrt()


def expmap0(v: Tensor, c: Curvature = 1.0) -> Tensor:
    """Map a tangent at the origin onto the hyperboloid: sinh(r) v / r with r = sqrt(c)|v|."""
    r = norm(v) * _sqrt(c)
    return v * (torch.sinh(r.clamp_max(MAX_RADIUS)) / r)


def logmap0(x: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the tangent at the origin of a point; the inverse of `expmap0`."""
    r = norm(x) * _sqrt(c)
    return x * (torch.asinh(r) / r)


def dist(x: Tensor, y: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the distance of two points, [...]; 0 and with gradient 0 for equal points.

    sinh^2(d/2) = sinh^2((a - b)/2) + sinh(a) sinh(b) |x/|x| - y/|y||^2 / 4 with sinh(a) =
    sqrt(c)|x| and sinh(b) = sqrt(c)|y|, in units of 1/sqrt(c).
    """
    n_x, n_y, more, chord = polar_difference(x, y)
    sinh_a, sinh_b = n_x * _sqrt(c), n_y * _sqrt(c)
    # sinh(a - b) = sinh a cosh b - cosh a sinh b = (sinh^2 a - sinh^2 b) / (their sum)
    cosh_a, cosh_b = (1 + sinh_a.square()).sqrt(), (1 + sinh_b.square()).sqrt()
    wide = more * _sqrt(c) * (sinh_a + sinh_b) / (sinh_a * cosh_b + cosh_a * sinh_b)
    along = torch.sinh(0.5 * torch.asinh(wide))
    square = along.square() + 0.25 * sinh_a * sinh_b * chord
    return (2.0 * torch.asinh(root(square)) / _sqrt(c)).squeeze(-1)


def inner(x: Tensor, y: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the Lorentz inner product -x_0 y_0 + x.y of two points, [...]."""
    return (x * y).sum(-1) - (time(x, c) * time(y, c)).squeeze(-1)


def centroid(x: Tensor, weight: Tensor | None = None, c: Curvature = 1.0) -> Tensor:
    """Return the weighted centroid of the points along the last axis but one, [..., d].

    The normalised weighted sum in the ambient space, the closed-form minimiser of the weighted
    squared Lorentz distance.

    Args:
        x: points, [..., k, d].
        weight: not negative, [..., k]; equal by default.
        c: curvature.
    """
    w = torch.ones_like(x[..., :1]) if weight is None else weight.unsqueeze(-1)
    space, t = (w * x).sum(-2), (w * time(x, c)).sum(-2)
    length = (t.square() - space.square().sum(-1, keepdim=True)).clamp_min(_TINY**2).sqrt()
    return space / (length * _sqrt(c))


def transport0(x: Tensor, v: Tensor, c: Curvature = 1.0) -> Tensor:
    """Carry a tangent v at the origin to x; returns its space-like coordinates."""
    along = (x * v).sum(-1, keepdim=True)
    return v + along / (1.0 / _sqrt(c) + time(x, c)) * x * _sqrt(c)


def to_ball(x: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the same point in the Poincare ball."""
    return x / (1.0 + _sqrt(c) * time(x, c))


def from_ball(x: Tensor, c: Curvature = 1.0) -> Tensor:
    """Return the same point of the Poincare ball on the hyperboloid."""
    return 2.0 * x / poincare.gap(x, c)


def _sqrt(c: Curvature) -> Curvature:
    return c.sqrt() if isinstance(c, Tensor) else c**0.5
