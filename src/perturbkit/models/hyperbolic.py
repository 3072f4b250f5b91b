"""A graph encoder in hyperbolic space with heads for effects, sensitivity, policy and value.

Its Euclidean twin has the same layers, the same heads and the same number of weights; only the
geometry differs, so the two can be compared. Every size is free: what is learned on one network
applies to any other.
"""

import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from perturbkit.core.config import Config
from perturbkit.models.nn import poincare
from perturbkit.models.nn.hyperbolic_layers import (
    STARTS,
    BoundedTangent,
    Curvature,
    PoincareHead,
    PoincareLinear,
    SmoothRadius,
    categorical_loss,
    haar_,
)

N_BINS = 51


class HyperbolicConfig(Config):
    """Hyper-parameters of the encoder and its heads."""

    geometry: Literal["hyperbolic", "euclidean"] = "hyperbolic"
    """the space of the embeddings; `euclidean` is the twin"""
    curvature: float = Field(default=1.0, ge=0.05, le=5)
    """magnitude of the negative curvature at the start"""
    adaptive: bool = True
    """learn the curvature, between 0.05 and 5"""
    width: int = Field(default=32, ge=2)
    """length of the hidden vectors"""
    embedding_dim: int = Field(default=8, ge=2)
    """length of the embeddings, where geometry matters"""
    n_layers: int = Field(default=2, ge=1, le=8)
    """how far information travels in the network"""
    radius: Literal["free", "fixed"] = "free"
    """`free`: an embedding keeps its length, which then says how high a gene is in a hierarchy;
    `fixed`: all have one length, as in Hyper++"""
    start: Literal["haar", "unitary", "xavier"] = "haar"
    """first weights: Haar draws of orthogonal or of unitary matrices, or Gaussian ones"""
    checkpointing: bool = False
    """recompute hidden values in the backward pass: less memory, more time"""


class EuclideanLayer(nn.Module):
    """The twin of `PoincareLinear`: a linear map with as many weights."""

    def __init__(self, d_in: int, d_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(haar_(torch.empty(d_in, d_out), generator=generator))
        self.shift = nn.Parameter(torch.zeros(d_out))

    def forward(self, x_nd: Tensor, c: Tensor) -> Tensor:
        """Map [n, d_in] to [n, d_out]; the curvature plays no part."""
        del c
        return x_nd @ self.weight + self.shift


class GraphGeometry(nn.Module):
    """Gene embeddings from features and a network: tangents at the origin of bounded length.

    Each layer bounds its input, maps it to the ball, applies an HNN++ linear map, returns to the
    tangent space, averages over neighbours there and adds the input. Isolated genes keep their
    own view by the self-loop of the adjacency.

    Args:
        n_features: width of the node features.
        config: settings.
        generator: initialises the weights (Haar measure).
    """

    def __init__(
        self, n_features: int, config: HyperbolicConfig, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config, self.hyperbolic = config, config.geometry == "hyperbolic"
        layer = PoincareLinear if self.hyperbolic else EuclideanLayer
        self.curvature = Curvature(config.curvature, learnable=config.adaptive)
        self.enter = EuclideanLayer(n_features, config.width, generator=generator)
        last = SmoothRadius if config.radius == "free" else BoundedTangent
        self.bounds = nn.ModuleList(BoundedTangent() for _ in range(config.n_layers))
        self.bounds.append(last())
        self.layers = nn.ModuleList(
            layer(config.width, config.width, generator=generator) for _ in range(config.n_layers)
        )
        self.leave = EuclideanLayer(config.width, config.embedding_dim, generator=generator)
        if config.start != "haar":
            for module in (self.enter, *self.layers, self.leave):
                STARTS[config.start](module.weight, generator=generator)  # pyright: ignore[reportArgumentType]

    def forward(self, x_gf: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings as tangents [g, d], hidden vectors [g, w], and the curvature.

        Args:
            x_gf: node features, any size, finite.
            adjacency: normalised [g, g] with self-loops, dense or sparse.
        """
        c = self.curvature()
        scale = x_gf.square().mean(-1, keepdim=True).add(1e-6).rsqrt()
        h = self.enter(x_gf * scale.clamp_max(1.0), c)
        for bound, layer in zip(self.bounds[:-1], self.layers, strict=True):
            if self.config.checkpointing and h.requires_grad:
                from torch.utils.checkpoint import checkpoint

                h = checkpoint(self._layer, bound, layer, h, adjacency, c, use_reentrant=False)
            else:
                h = self._layer(bound, layer, h, adjacency, c)
        return self.bounds[-1](self.leave(h, c), c), h, c

    def _layer(
        self, bound: nn.Module, layer: nn.Module, h: Tensor, adjacency: Tensor, c: Tensor
    ) -> Tensor:
        u = bound(h, c)
        moved = layer(poincare.expmap0(u, c), c) if self.hyperbolic else layer(u, c)
        tangent = poincare.logmap0(moved, c) if self.hyperbolic else moved
        return functional.gelu(adjacency @ tangent) + h

    def distances(self, u_gd: Tensor, v_gd: Tensor, c: Tensor) -> Tensor:
        """Return distances of all pairs of embeddings, [g, g']."""
        left, right = u_gd[:, None].expand(-1, len(v_gd), -1), v_gd[None].expand(len(u_gd), -1, -1)
        if self.hyperbolic:
            return poincare.dist_tangent(left, right, c)
        return 2.0 * poincare.root((left - right).square().sum(-1))


class HyperPerturb(nn.Module):
    """Signed effects of every gene on every other, sensitivities, a policy and a value.

    Args:
        n_features: width of the node features, from the user's cells or campaign.
        config: settings.
        generator: initialises the weights.

    Source:
        The idea of HyperPerturb; the stable recipe is Hyper++ (arXiv:2512.14202): RMSNorm,
        1/sqrt(d), a bounded learned scale, a categorical value loss.
    """

    centres: Tensor

    def __init__(
        self, n_features: int, config: HyperbolicConfig, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        d, w = config.embedding_dim, config.width
        self.encoder = GraphGeometry(n_features, config, generator=generator)
        head = PoincareHead if self.encoder.hyperbolic else EuclideanLayer
        self.query = nn.Parameter(haar_(torch.empty(w, d), generator=generator))
        self.key = nn.Parameter(haar_(torch.empty(w, d), generator=generator))
        self.reach = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.policy = head(d, 1, generator=generator)
        self.sensitivity = head(d, 1, generator=generator)
        self.mix = EuclideanLayer(w, 2, generator=generator)
        self.value = head(d, N_BINS, generator=generator)
        self.register_buffer("centres", torch.linspace(-1.0, 3.0, N_BINS))

    def forward(self, x_gf: Tensor, adjacency: Tensor) -> dict[str, Tensor]:
        """Return `embedding`, `policy` [g], `sensitivity` [g], `value` [bins] and `curvature`."""
        u, h, c = self.encoder(x_gf, adjacency)
        point = poincare.expmap0(u, c) if self.encoder.hyperbolic else u
        extra = self.mix(h, c)
        return {
            "embedding": u, "hidden": h, "curvature": c,
            "policy": self.policy(point, c)[:, 0] + extra[:, 0],
            "sensitivity": functional.softplus(self.sensitivity(point, c)[:, 0] + extra[:, 1]),
            "value": self.value(point, c).mean(0),
        }  # fmt: skip

    def effects(self, out: dict[str, Tensor], sources: Tensor | None = None) -> Tensor:
        """Return signed effects [source, target]: a sign from query and key, a size from distance.

        Args:
            out: what `forward` returned.
            sources: positions of the sources asked for, int64; all of them by default.
        """
        u, h, c = out["embedding"], out["hidden"], out["curvature"]
        unit = h * h.square().mean(-1, keepdim=True).add(1e-6).rsqrt()
        rows = slice(None) if sources is None else sources
        sign = torch.tanh((unit[rows] @ self.query) @ (unit @ self.key).T / math.sqrt(u.shape[1]))
        far = self.encoder.distances(u[rows], u, c)
        near = self.reach[0] - functional.softplus(self.reach[1]) * far
        return sign * functional.softplus(near) * out["sensitivity"][rows, None]

    def value_loss(self, out: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the categorical loss of the value head for one scalar target."""
        return categorical_loss(out["value"][None], target.reshape(1), self.centres)

    def expected_value(self, out: dict[str, Tensor]) -> Tensor:
        """Return the mean of the value head's distribution, a scalar."""
        return (out["value"].softmax(-1) * self.centres).sum()


def normalise(adjacency: Tensor) -> Tensor:
    """Return D^-1/2 (A + I) D^-1/2 of a dense adjacency: hubs stay bounded, nobody is isolated."""
    a = adjacency + torch.eye(len(adjacency), dtype=adjacency.dtype)
    scale = a.sum(1).rsqrt()
    return scale[:, None] * a * scale


def normalise_sparse(adjacency: sparse.csr_array) -> Tensor:
    """Return D^-1/2 (A + I) D^-1/2 of a symmetric sparse adjacency as a sparse float32 tensor."""
    n = adjacency.shape[0]
    a = sparse.coo_array(adjacency.astype(np.float32) + sparse.eye_array(n, dtype=np.float32))
    scale = 1 / np.sqrt(np.asarray(a.sum(1)).ravel())
    weight = scale[a.row] * a.data * scale[a.col]
    place = torch.from_numpy(np.stack([a.row, a.col]).astype(np.int64))
    return torch.sparse_coo_tensor(
        place, torch.from_numpy(weight), (n, n), check_invariants=False
    ).coalesce()


def careful_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter]
) -> bool:
    """Step after clipping the gradient to norm 1; skip and halve the rate where it is not finite.

    Returns:
        Whether the step was taken.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    size = nn.utils.clip_grad_norm_(parameters, 1.0)
    if bool(torch.isfinite(loss)) and bool(torch.isfinite(size)):
        optimizer.step()
        return True
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    return False
