"""The ball against mpmath at 60 digits, in float32, at radii up to 10; gradients; NaN."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbkit.models.nn import lorentz, poincare

RADII = (1e-6, 1e-3, 0.1, 1.0, 3.0, 6.0, 8.0, 10.0)


def directions(n, d, seed):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.norm(dim=-1, keepdim=True)


def tangents(seed=0, d=5, c=1.0, dtype=torch.float32):
    """A tangent for each radius (distance from the origin) of RADII, repeated."""
    radius = torch.tensor(RADII * 4, dtype=torch.float64)[:, None]
    return (directions(len(radius), d, seed) * radius / 2 / c**0.5).to(dtype)


def exact(row):
    return mpmath.matrix([mpmath.mpf(float(v)) for v in row])


def dot(a, b):
    return mpmath.fsum(p * q for p, q in zip(a, b, strict=True))


def exact_expmap0(v, c):
    r = mpmath.sqrt(c * dot(v, v))
    return v * (mpmath.tanh(r) / r)


def exact_add(x, y, c):
    xy, xx, yy = dot(x, y), dot(x, x), dot(y, y)
    return (x * (1 + 2 * c * xy + c * yy) + y * (1 - c * xx)) / (1 + 2 * c * xy + c * c * xx * yy)


def exact_dist(x, y, c):
    z = exact_add(-x, y, c)
    return 2 / mpmath.sqrt(c) * mpmath.atanh(mpmath.sqrt(c * dot(z, z)))


def relative(found, truth):
    """Largest error of the rows, relative to the length of the true row."""
    worst = 0.0
    for f, t in zip(found, truth, strict=True):
        off = exact(f) - t
        worst = max(worst, float(mpmath.sqrt(dot(off, off) / dot(t, t))))
    return worst


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(60):
        yield


@pytest.mark.parametrize("c", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("form", ["fused", "composed"])
def test_float32_is_good_to_1e_5(c, form):
    # a curvature that needs a gradient takes the composed forms
    k = torch.tensor(c, requires_grad=True) if form == "composed" else c
    exact_c = mpmath.mpf(float(torch.tensor(c)))
    u, v = tangents(0, c=c), tangents(1, c=c).flip(0)
    eu = [exact(r) for r in u]
    x, y = poincare.expmap0(u, k).detach(), poincare.expmap0(v, k).detach()
    ex, ey = [exact(r) for r in x], [exact(r) for r in y]
    pairs = list(zip(ex, ey, strict=True))
    added = poincare.mobius_add(x, y, k).detach()
    near = poincare.mobius_add(-x, x + (y - x) * 1e-2, k).detach()
    target = [exact(r) for r in x + (y - x) * 1e-2]
    assert relative(x, [exact_expmap0(a, exact_c) for a in eu]) < 1e-5
    assert relative(added, [exact_add(a, b, exact_c) for a, b in pairs]) < 1e-5
    steps = zip(ex, target, strict=True)
    assert relative(near, [exact_add(-a, b, exact_c) for a, b in steps]) < 1e-5
    dist = poincare.dist(x, y, k).detach()[:, None]
    assert relative(dist, [mpmath.matrix([exact_dist(a, b, exact_c)]) for a, b in pairs]) < 1e-5
    back = poincare.logmap0(x, k).detach()
    norms = [mpmath.sqrt(exact_c * dot(a, a)) for a in ex]
    logs = [a * (mpmath.atanh(r) / r) for a, r in zip(ex, norms, strict=True)]
    assert relative(back, logs) < 1e-5


@pytest.mark.parametrize("c", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("angle", [1e-3, 1.0])
def test_distances_from_tangents_and_on_the_hyperboloid_are_good_to_1e_5(c, angle):
    exact_c = mpmath.mpf(float(torch.tensor(c)))
    u = tangents(0, c=c)
    turned = u.double() + angle * u.double().norm(dim=-1, keepdim=True) * directions(len(u), 5, 3)
    for v in (turned.float(), tangents(1, c=c).flip(0)):
        balls = [[exact_expmap0(exact(r), exact_c) for r in w] for w in (u, v)]
        truth = [mpmath.matrix([exact_dist(a, b, exact_c)]) for a, b in zip(*balls, strict=True)]
        assert relative(poincare.dist_tangent(u, v, c)[:, None], truth) < 1e-5
    # the hyperboloid, from its own float32 coordinates
    x, y = (lorentz.expmap0(2 * w, c) for w in (u, tangents(1, c=c).flip(0)))
    truth = []
    for a, b in zip(map(exact, x), map(exact, y), strict=True):
        times = mpmath.sqrt((1 / exact_c + dot(a, a)) * (1 / exact_c + dot(b, b)))
        angle_ = mpmath.acosh(exact_c * (times - dot(a, b)))
        truth.append(mpmath.matrix([angle_ / mpmath.sqrt(exact_c)]))
    assert relative(lorentz.dist(x, y, c)[:, None], truth) < 1e-5


def test_log_undoes_exp():
    for dtype, rtol in ((torch.float32, 1e-5), (torch.float64, 1e-11)):
        v = tangents(dtype=dtype)
        short = v[v.norm(dim=-1) <= 2.0]  # beyond, float32 cannot hold the point itself
        back = poincare.logmap0(poincare.expmap0(short))
        torch.testing.assert_close(back, short, rtol=rtol, atol=1e-12)
        torch.testing.assert_close(
            lorentz.logmap0(lorentz.expmap0(2 * v)), 2 * v, rtol=1e-5, atol=0
        )
        x = poincare.expmap0(short)
        y = poincare.expmap0(short.flip(0))
        there = poincare.expmap(x, poincare.logmap(x, y))
        torch.testing.assert_close(
            there, y, rtol=1e-3 if dtype == torch.float32 else 1e-9, atol=1e-4
        )


vectors = st.lists(
    st.floats(-4, 4, width=32).filter(lambda v: v == 0 or abs(v) > 1e-6), min_size=3, max_size=3
)


@settings(deadline=None, max_examples=60)
@given(vectors, vectors, st.floats(0.05, 5.0), st.booleans())
def test_distances_are_a_metric_with_finite_gradients(a, b, c, coincide):
    u = torch.tensor([a], requires_grad=True)
    v = torch.tensor([a if coincide else b], requires_grad=True)
    k = torch.tensor(c, requires_grad=True)
    x, y = poincare.expmap0(u, k), poincare.expmap0(v, k)
    xl, yl = lorentz.expmap0(u, k), lorentz.expmap0(v, k)
    values = {
        "tangent": poincare.dist_tangent(u, v, k), "ball": poincare.dist(x, y, k),
        "fused": poincare.dist(poincare.expmap0(u, c), poincare.expmap0(v, c), c),
        "hyperboloid": lorentz.dist(xl, yl, k), "sum": poincare.mobius_add(x, y, k).sum(),
        "there": poincare.logmap(x, y, k).sum(),
    }  # fmt: skip
    if coincide:
        assert all(values[n].item() == 0 for n in ("tangent", "ball", "fused", "hyperboloid"))
    assert poincare.dist_tangent(v, u, k).item() == pytest.approx(
        values["tangent"].item(), rel=1e-5
    )
    for name, value in values.items():
        grads = torch.autograd.grad(value.sum(), (u, v), retain_graph=True)
        assert all(torch.isfinite(g).all() for g in grads), name


def test_gradient_at_the_origin_is_the_true_one():
    u = torch.zeros(1, 3, requires_grad=True)
    v = torch.tensor([[0.3, 0.4, 0.0]])
    (g,) = torch.autograd.grad(poincare.dist_tangent(u, v).sum(), u)
    torch.testing.assert_close(g, -2 * v / 0.5)
    (g,) = torch.autograd.grad(poincare.expmap0(u).sum(), u)
    torch.testing.assert_close(g, torch.ones(1, 3))


@pytest.mark.parametrize("c", [0.3, 2.0])
def test_fused_gradients_are_those_of_the_composed_forms(c):
    x, y = (poincare.expmap0(tangents(s, dtype=torch.float64, c=c) * 0.4, c) for s in (0, 1))
    for fn in (poincare.mobius_add, poincare.dist, lambda a, _, k: poincare.expmap0(a, k)):
        grads = []
        for k in (c, torch.tensor(c, dtype=torch.float64, requires_grad=True)):
            a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
            out = fn(a, b, k)
            weight = torch.linspace(1, 2, len(x), dtype=torch.float64)
            (out.reshape(len(x), -1) * weight[:, None]).sum().backward()
            grads.append((a.grad, b.grad))
        for ours, composed in zip(*grads, strict=True):
            if composed is not None:
                torch.testing.assert_close(ours, composed, rtol=1e-7, atol=1e-12)


def test_transport_keeps_length_and_agrees_with_the_origin_form():
    x, y = (poincare.expmap0(tangents(s, dtype=torch.float64) * 0.3) for s in (0, 1))
    v = directions(len(x), 5, 7)
    moved = poincare.transport(x, y, v)
    lengths = [w.norm(dim=-1, keepdim=True) / poincare.gap(p) for w, p in ((v, x), (moved, y))]
    torch.testing.assert_close(*lengths, rtol=1e-9, atol=0)
    zero = torch.zeros_like(x)
    torch.testing.assert_close(poincare.transport(zero, x, v), poincare.transport0(x, v))


def test_midpoint_of_two_points_is_halfway_and_equals_the_centroid():
    x, y = (poincare.expmap0(tangents(s, dtype=torch.float64) * 0.3) for s in (0, 1))
    pair = torch.stack([x, y], -2)
    mid = poincare.midpoint(pair)
    half = poincare.dist(x, y) / 2
    torch.testing.assert_close(poincare.dist(mid, x), half, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(poincare.dist(mid, y), half, rtol=1e-6, atol=1e-9)
    centre = lorentz.to_ball(lorentz.centroid(lorentz.from_ball(pair)))
    torch.testing.assert_close(mid, centre, rtol=1e-6, atol=1e-9)


def test_two_models_of_one_space_agree():
    u, v = tangents(0, dtype=torch.float64), tangents(1, dtype=torch.float64).flip(0)
    for c in (0.05, 5.0):
        on_sheet = lorentz.dist(lorentz.expmap0(2 * u, c), lorentz.expmap0(2 * v, c), c)
        torch.testing.assert_close(poincare.dist_tangent(u, v, c), on_sheet, rtol=1e-9, atol=1e-15)
        ball = lorentz.to_ball(lorentz.expmap0(2 * u, c), c)
        torch.testing.assert_close(ball, poincare.expmap0(u, c), rtol=1e-12, atol=1e-15)
    x = lorentz.expmap0(u)
    w = lorentz.transport0(x, v)
    assert np.allclose((x * w).sum(-1) ** 2 / lorentz.time(x)[:, 0] ** 2,
                       (w.square() .sum(-1) - v.square().sum(-1)), atol=1e-6)  # fmt: skip


def test_traced_without_a_graph_break():
    def loss(u, v):
        x, y = poincare.expmap0(u), poincare.expmap0(v)
        return (
            poincare.dist(x, y) + poincare.dist_tangent(u, v) + poincare.mobius_add(x, y).sum(-1)
        ).sum()

    u, v = tangents(0) * 0.5, tangents(1) * 0.5
    traced = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(traced(u, v), loss(u, v))
