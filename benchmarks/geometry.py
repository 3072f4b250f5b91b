"""Hyperbolic kernels: float32 error, speed against geoopt in one run, and NaN over a grid.

Data: random tangents, seeded (0 and 1). Errors are relative, against mpmath at 60 digits on the
same float32 inputs. Speed is CPU time of one thread, forward and backward, (100,000, 64) float32,
the least of several runs of each side, taken in turn. geoopt is optional: without it the speed is
given without the comparison (`pip install geoopt==0.5.1`).
"""

import argparse
import itertools
import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mpmath
import numpy as np
import torch

from perturbkit.models.hyperbolic import HyperbolicConfig, HyperPerturb, careful_step, normalise
from perturbkit.models.nn import lorentz, poincare

RADII = (1e-3, 1.0, 4.0, 8.0, 10.0)


def tangents(seed: int, n: int, d: int = 8, radius: float = 1.0) -> torch.Tensor:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x / x.norm(dim=-1, keepdim=True) * radius / 2).float()


def exact_expmap0(v: mpmath.matrix) -> mpmath.matrix:
    r = mpmath.norm(v)
    return v * (mpmath.tanh(r) / r)


def exact_dist(x: mpmath.matrix, y: mpmath.matrix) -> mpmath.mpf:
    gap_x, gap_y = 1 - mpmath.norm(x) ** 2, 1 - mpmath.norm(y) ** 2
    return 2 * mpmath.asinh(mpmath.norm(x - y) / mpmath.sqrt(gap_x * gap_y))


def accuracy(n: int = 40) -> list[dict]:
    """Largest relative error by radius of each way to a distance, random and near pairs."""
    rows = []
    with mpmath.workdps(60):
        for radius, near in itertools.product(RADII, (False, True)):
            u = tangents(0, n, radius=radius)
            v = (
                u + 1e-3 * u.norm(dim=-1, keepdim=True) * tangents(1, n, radius=2.0)
                if near
                else (tangents(1, n, radius=radius))
            )
            exact = [[exact_expmap0(mpmath.matrix(r.tolist())) for r in w] for w in (u, v)]
            truth = np.array([float(exact_dist(a, b)) for a, b in zip(*exact, strict=True)])
            x, y = poincare.expmap0(u), poincare.expmap0(v)
            ball = [[mpmath.matrix(r.tolist()) for r in w] for w in (x, y)]
            given = np.array([float(exact_dist(a, b)) for a, b in zip(*ball, strict=True)])
            row = {"radius": radius, "near": near}
            tangent = poincare.dist_tangent(u, v).double().numpy()
            row["dist_tangent"] = float(np.abs(tangent / truth - 1).max())
            sheet = lorentz.dist(lorentz.expmap0(2 * u), lorentz.expmap0(2 * v)).double().numpy()
            row["lorentz_from_tangent"] = float(np.abs(sheet / truth - 1).max())
            row["dist_same_ball_points"] = float(
                np.abs(poincare.dist(x, y).double().numpy() / given - 1).max()
            )
            row["dist_after_rounding_to_ball"] = float(
                np.abs(poincare.dist(x, y).double().numpy() / truth - 1).max()
            )
            other = geoopt_ball()
            if other is not None:
                theirs = other.dist(other.expmap0(u), other.expmap0(v)).double().numpy()
                row["geoopt_dist"] = float(np.abs(theirs / truth - 1).max())
            rows.append(row)
    return rows


def geoopt_ball() -> object | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import geoopt
        except ImportError:
            return None
        return geoopt.PoincareBall(c=1.0)


def timed(fn: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> float:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    start = time.process_time()
    fn(*leaves).sum().backward()
    return (time.process_time() - start) * 1e3


@contextmanager
def composed() -> Iterator[None]:
    """Compute with torch's own operations, one after the other, instead of the fused kernels."""
    usable = poincare.fused.usable
    poincare.fused.usable = lambda *_: False
    try:
        yield
    finally:
        poincare.fused.usable = usable


def speed(repeats: int) -> list[dict]:
    g = torch.Generator().manual_seed(0)
    u, v = (torch.randn(100_000, 64, generator=g) * 0.3 for _ in range(2))
    x, y = poincare.expmap0(u), poincare.expmap0(v)
    other = geoopt_ball()
    cases = {"expmap0": (u,), "mobius_add": (x, y), "dist": (x, y), "logmap0": (x,)}
    rows = []
    for name, inputs in cases.items():
        ours, theirs, plain = [], [], []
        for _ in range(repeats + 1):
            ours.append(timed(getattr(poincare, name), *inputs))
            with composed():
                plain.append(timed(getattr(poincare, name), *inputs))
            if other is not None:
                theirs.append(timed(getattr(other, name), *inputs))
        row = {"op": name, "ours_ms": min(ours[1:]), "not_fused_ms": min(plain[1:]),
               "gain_of_fusing": min(plain[1:]) / min(ours[1:])}  # fmt: skip
        if theirs:
            row |= {"geoopt_ms": min(theirs[1:]), "ratio": min(theirs[1:]) / min(ours[1:])}
        rows.append(row)
    return rows


def nan_grid(steps: int) -> dict:
    """Train over the grid; count configurations with a NaN anywhere and steps that were skipped."""
    n = 120
    a = (torch.rand(n, n, generator=torch.Generator().manual_seed(0)) < 0.02).float()
    a[0, :] = 1.0
    a[-12:, :] = 0
    a[:, -12:] = 0
    a = torch.triu(a, 1)
    adjacency = normalise(a + a.T)
    target = torch.randn(n, n, generator=torch.Generator().manual_seed(1))
    bad = skipped = total = 0
    grid = itertools.product((1e-5, 1e-3, 1e-1, 1.0), (0.0, 1e-8, 1e4), (0.05, 1.0, 5.0))
    for lr, size, curvature in grid:
        x = torch.randn(n, 4, generator=torch.Generator().manual_seed(2)) * size
        config = HyperbolicConfig(curvature=curvature, width=8, embedding_dim=3)
        model = HyperPerturb(4, config, generator=torch.Generator().manual_seed(3))
        parameters = list(model.parameters())
        optimizer = torch.optim.Adam(parameters, lr)
        finite = True
        for _ in range(steps):
            out = model(x, adjacency)
            loss = (model.effects(out) - target).square().mean() + out["policy"].square().mean()
            loss = loss + model.value_loss(out, torch.tensor(0.5))
            skipped += not careful_step(optimizer, loss, parameters)
            finite &= bool(torch.isfinite(loss))
        finite &= all(bool(torch.isfinite(p).all()) for p in parameters)
        bad += not finite
        total += 1
    return {"configurations": total, "steps": steps, "with_nan": bad, "skipped_steps": skipped,
            "isolated_genes": 12, "hub_degree": 107}  # fmt: skip


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["accuracy", "speed", "nan_grid"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    parts = {
        "accuracy": accuracy,
        "speed": lambda: speed(options.repeats),
        "nan_grid": lambda: nan_grid(options.steps),
    }
    found = {name: parts[name]() for name in options.what}
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
