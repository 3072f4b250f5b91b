"""Hyperbolic layers: learnable curvature, bounded tangents, HNN++ linear maps and heads."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from perturbkit.models.nn import poincare

MIN_CURVATURE, MAX_CURVATURE = 0.05, 5.0
_MAX_SINH = 15.0
_MAX_TANGENT = 3.0


class Curvature(nn.Module):
    """A curvature magnitude between 0.05 and 5, learned where `learnable`.

    Parametrised by a sigmoid between the bounds on the log scale, so no step of any size leaves
    them and the gradient never vanishes for good.

    Args:
        start: the first value.
        learnable: whether it is trained ("adaptive curvature").
    """

    def __init__(self, start: float = 1.0, *, learnable: bool = False) -> None:
        super().__init__()
        inside = min(max(start, MIN_CURVATURE * 1.001), MAX_CURVATURE * 0.999)
        share = math.log(inside / MIN_CURVATURE) / math.log(MAX_CURVATURE / MIN_CURVATURE)
        raw = torch.tensor(math.log(share / (1 - share)))
        if learnable:
            self.raw = nn.Parameter(raw)
        else:
            self.register_buffer("raw", raw)

    def forward(self) -> Tensor:
        """Return the curvature magnitude, a scalar."""
        share = torch.sigmoid(self.raw)
        return MIN_CURVATURE * (MAX_CURVATURE / MIN_CURVATURE) ** share


class BoundedTangent(nn.Module):
    """Tangents of bounded length from any features: RMSNorm, 1/sqrt(d), a learned bounded scale.

    The length is at most artanh(0.95) = 1.83 in units of 1/sqrt(c), whatever comes in, and stays
    0 for a row of zeros.

    Source: Hyper++, Klein et al. 2025 (arXiv:2512.14202), section on RMSNorm regularisation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x_nd: Tensor, c: Tensor) -> Tensor:
        """Return tangents at the origin, the same shape."""
        mean_square = x_nd.square().mean(-1, keepdim=True)
        unit = x_nd * torch.rsqrt(mean_square + 1e-6) / math.sqrt(x_nd.shape[-1])
        bound = math.atanh(0.95) * torch.sigmoid(self.scale)
        return unit * bound / c.sqrt()


class SmoothRadius(nn.Module):
    """Tangents of bounded length that keep their own: R tanh(r/(R sqrt(d))), a learned R up to 3.

    Where `BoundedTangent` puts every row on one sphere, as Hyper++ does, rows keep their radius
    here, so that it can say how high in a hierarchy a gene is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x_nd: Tensor, c: Tensor) -> Tensor:
        """Return tangents at the origin, the same shape."""
        bound = _MAX_TANGENT * torch.sigmoid(self.scale)
        x_nd = x_nd / math.sqrt(x_nd.shape[-1])
        r = poincare.norm(x_nd)
        return x_nd * (bound * torch.tanh(r / bound) / r) / c.sqrt()


class PoincareLinear(nn.Module):
    """The fully connected layer of HNN++: distances to hyperplanes become coordinates.

    Source: Shimizu et al. 2021 (arXiv:2006.08210), section 3.2, sinh and cosh arguments bounded.
    """

    def __init__(self, d_in: int, d_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(haar_(torch.empty(d_in, d_out), generator=generator))
        self.shift = nn.Parameter(torch.zeros(d_out))

    def forward(self, x_nd: Tensor, c: Tensor) -> Tensor:
        """Map points of the ball to points of the ball, [n, d_in] to [n, d_out]."""
        v = hyperplane_scores(x_nd, self.weight, self.shift, c)
        w = torch.sinh((c.sqrt() * v).clamp(-_MAX_SINH, _MAX_SINH)) / c.sqrt()
        return w / (1.0 + (1.0 + c * w.square().sum(-1, keepdim=True)).sqrt())


class PoincareHead(nn.Module):
    """Scores against hyperplanes of the ball, the multinomial regression of HNN++."""

    def __init__(self, d_in: int, n_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(haar_(torch.empty(d_in, n_out), generator=generator))
        self.shift = nn.Parameter(torch.zeros(n_out))

    def forward(self, x_nd: Tensor, c: Tensor) -> Tensor:
        """Return scores [n, n_out] of points of the ball."""
        return hyperplane_scores(x_nd, self.weight, self.shift, c)


def hyperplane_scores(x: Tensor, z: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """Return signed, weighted distances of points to hyperplanes, [n, k].

    Args:
        x: points of the ball, [n, d].
        z: normals, [d, k]; their norm weighs the score.
        r: offsets from the origin, [k].
        c: curvature.
    """
    root = c.sqrt()
    size = z.square().sum(0).clamp_min(1e-30).sqrt()
    lam = 2.0 / poincare.gap(x, c)
    angle = (2.0 * root * r).clamp(-_MAX_SINH, _MAX_SINH)
    inner = lam * root * (x @ (z / size)) * torch.cosh(angle) - (lam - 1.0) * torch.sinh(angle)
    return 2.0 * size / root * torch.asinh(inner)


def haar_(weight: Tensor, *, generator: torch.Generator) -> Tensor:
    """Fill a matrix with a draw from the Haar measure on orthogonal matrices (its columns or rows).

    QR of a Gaussian matrix with the signs of R's diagonal made positive; without that step the
    draw is not uniform. What "Haar initialisation" means for real networks.

    Source: Mezzadri 2007 (arXiv:math-ph/0609050).
    """
    n, m = weight.shape
    tall = torch.randn(max(n, m), min(n, m), generator=generator)
    q, r = torch.linalg.qr(tall)
    q = q * torch.sign(torch.diagonal(r))
    with torch.no_grad():
        return weight.copy_(q if n >= m else q.T)


def haar_unitary_(weight: Tensor, *, generator: torch.Generator) -> Tensor:
    """Fill a matrix with the real form [[A, -B], [B, A]] of a Haar draw A + iB of unitary matrices.

    Rows and columns of odd number have no complex form: then the draw is of orthogonal matrices.

    Source: Mezzadri 2007 (arXiv:math-ph/0609050), section 5: the phases of R's diagonal made 1.
    """
    n, m = weight.shape
    if n % 2 or m % 2:
        return haar_(weight, generator=generator)
    shape = (max(n, m) // 2, min(n, m) // 2)
    tall = torch.complex(*(torch.randn(shape, generator=generator) for _ in range(2)))
    q, r = torch.linalg.qr(tall)
    phase = torch.diagonal(r)
    q = q * (phase / phase.abs().clamp_min(1e-30))
    real = torch.cat([torch.cat([q.real, -q.imag], 1), torch.cat([q.imag, q.real], 1)])
    with torch.no_grad():
        return weight.copy_(real if n >= m else real.T)


def xavier_(weight: Tensor, *, generator: torch.Generator) -> Tensor:
    """Fill a matrix with Gaussians of variance 2 / (rows + columns): the usual way, to compare."""
    scale = math.sqrt(2.0 / sum(weight.shape))
    with torch.no_grad():
        return weight.copy_(scale * torch.randn(weight.shape, generator=generator))


STARTS = {"haar": haar_, "unitary": haar_unitary_, "xavier": xavier_}
"""Ways to initialise a weight matrix, by name."""


def annealed(step: int, period: int, floor: float = 0.1) -> float:
    """Return the factor of the annealed schedule: a cosine times an exponential, restarted.

    ((1 - floor) e^{-p/T} (1 + cos(pi p/T))/2 + floor) with p = step mod T. HyperPerturb publishes
    it under the name "quantum annealing"; nothing in it is quantum.
    """
    share = (step % period) / period
    return (1 - floor) * math.exp(-share) * 0.5 * (1 + math.cos(math.pi * share)) + floor


class TracePenalty(nn.Module):
    """A penalty on weights that stay in use: beta mean((w trace)^2), trace a decayed mean of |w|.

    What HyperPerturb calls "STDP": there is no spike and no timing in it, only a trace.

    Args:
        weight: the matrix it watches.
        beta: strength.
        decay: how much of the trace stays each step.
    """

    trace: Tensor

    def __init__(self, weight: Tensor, *, beta: float = 1e-4, decay: float = 0.9) -> None:
        super().__init__()
        self.beta, self.decay = beta, decay
        self.register_buffer("trace", torch.zeros_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the penalty and, while training, move the trace on."""
        if self.training:
            with torch.no_grad():
                self.trace.mul_(self.decay).add_(weight.abs(), alpha=1 - self.decay)
        return self.beta * (weight * self.trace).square().mean()


def two_hot(value: Tensor, centres: Tensor, width: float) -> Tensor:
    """Return the histogram target of a scalar: a Gaussian around it, integrated over the bins.

    Args:
        value: targets, [n].
        centres: equally spaced bin centres, [k].
        width: standard deviation of the Gaussian in units of a bin.

    Source: HL-Gauss, Farebrother et al. 2024 (arXiv:2403.03950).
    """
    step = centres[1] - centres[0]
    edges = torch.cat([centres - step / 2, centres[-1:] + step / 2])
    inside = value.clamp(centres[0], centres[-1]).unsqueeze(-1)
    cdf = torch.special.ndtr((edges - inside) / (width * step))
    mass = cdf[..., 1:] - cdf[..., :-1]
    return mass / mass.sum(-1, keepdim=True)


def categorical_loss(logits: Tensor, value: Tensor, centres: Tensor) -> Tensor:
    """Return the cross-entropy of value logits [n, k] against the HL-Gauss target of `value`."""
    return functional.cross_entropy(logits, two_hot(value, centres, 0.75))
