"""Riemannian Adam for points stored in the Poincare ball; tangents need only plain Adam."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from perturbkit.models.nn import poincare


class RiemannianAdam(torch.optim.Optimizer):
    """Adam on rows of points in the ball: rescaled gradient, exponential step, carried momentum.

    The second moment is one number per point, the squared Riemannian length of its gradient. A
    point whose gradient is not finite is left where it is.

    Args:
        params: tensors [n, d] of points in the ball.
        lr: learning rate.
        curvature: magnitude of the curvature of the ball the points live in.
        betas: decay of the first and second moment.

    Source: Becigneul & Ganea 2019 (arXiv:1810.00760).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        *,
        curvature: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__(params, {"lr": lr, "curvature": curvature, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for point in group["params"]:
                if point.grad is not None:
                    self._move(point, point.grad, group)
        return loss

    def _move(self, x: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        c, (b1, b2) = group["curvature"], group["betas"]
        state = self.state[x]
        if not state:
            state["step"] = 0
            state["momentum"] = torch.zeros_like(x)
            state["square"] = torch.zeros_like(x[..., :1])
        finite = torch.isfinite(grad).all(-1, keepdim=True)
        half_gap = poincare.gap(x, c) / 2  # 1 / lambda
        gradient = torch.where(finite, grad, 0.0) * half_gap.square()
        length = (gradient / half_gap).square().sum(-1, keepdim=True)
        state["step"] += 1
        momentum = state["momentum"].mul_(b1).add_(gradient, alpha=1 - b1)
        square = state["square"].mul_(b2).add_(length, alpha=1 - b2)
        m = momentum / (1 - b1 ** state["step"])
        s = square / (1 - b2 ** state["step"])
        moved = poincare.project(poincare.expmap(x, -group["lr"] * m / (s.sqrt() + 1e-8), c), c)
        moved = torch.where(finite, moved, x)
        state["momentum"] = poincare.transport(x, moved, momentum, c)
        x.copy_(moved)
