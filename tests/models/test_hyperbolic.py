"""The hyperbolic encoder: never NaN, same size as its twin, and it learns."""

import itertools

import pytest
import torch

from perturbkit.models.hyperbolic import (
    HyperbolicConfig,
    HyperPerturb,
    careful_step,
    normalise,
)
from perturbkit.models.nn import poincare
from perturbkit.models.nn.hyperbolic_layers import (
    Curvature,
    TracePenalty,
    annealed,
    haar_,
    two_hot,
)
from perturbkit.models.nn.riemannian import RiemannianAdam


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def hub_graph(n=80, isolated=10):
    a = (torch.rand(n, n, generator=generator()) < 0.03).float()
    a[0, :] = 1.0  # a hub
    a[n - isolated :, :] = 0
    a[:, n - isolated :] = 0
    a = torch.triu(a, 1)
    return normalise(a + a.T)


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
@pytest.mark.parametrize(
    ("lr", "size"), list(itertools.product([1e-5, 1e-2, 1.0], [0.0, 1e-8, 1e4]))
)
def test_nothing_is_ever_nan(geometry, lr, size):
    adjacency = hub_graph()
    x = torch.randn(80, 4, generator=generator(1)) * size
    target = torch.randn(80, 80, generator=generator(2))
    for curvature in (0.05, 5.0):
        config = HyperbolicConfig(geometry=geometry, curvature=curvature, width=8, embedding_dim=3)
        model = HyperPerturb(4, config, generator=generator())
        parameters = list(model.parameters())
        optimizer = torch.optim.Adam(parameters, lr)
        for _ in range(12):
            out = model(x, adjacency)
            loss = (model.effects(out) - target).square().mean() + out["policy"].square().mean()
            loss = loss + model.value_loss(out, torch.tensor(0.5))
            assert careful_step(optimizer, loss, parameters)
        for name, value in model(x, adjacency).items():
            assert torch.isfinite(value).all(), name
        assert 0.05 <= model.encoder.curvature().item() <= 5.0


def test_the_twin_has_as_many_weights():
    sizes = [
        sum(p.numel() for p in HyperPerturb(
            5, HyperbolicConfig(geometry=g, adaptive=False), generator=generator()).parameters())
        for g in ("hyperbolic", "euclidean")
    ]  # fmt: skip
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_it_learns_planted_effects_and_genes_may_come_in_any_order(geometry):
    adjacency, x = hub_graph(40, 4), torch.randn(40, 6, generator=generator(3))
    target = torch.zeros(40, 40)
    target[:4] = torch.randn(4, 40, generator=generator(4)).sign()
    config = HyperbolicConfig(geometry=geometry, width=16, embedding_dim=4)
    model = HyperPerturb(6, config, generator=generator())
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(150):
        loss = (model.effects(model(x, adjacency)) - target).square().mean()
        careful_step(optimizer, loss, list(model.parameters()))
        losses.append(loss.item())
    assert losses[-1] < 0.7 * target.square().mean().item()
    order = torch.randperm(40, generator=generator(5))
    with torch.no_grad():
        here = model.effects(model(x, adjacency))
        there = model.effects(model(x[order], adjacency[order][:, order]))
    torch.testing.assert_close(there, here[order][:, order], rtol=1e-4, atol=1e-5)


def test_checkpointing_changes_no_gradient():
    adjacency, x = hub_graph(30, 3), torch.randn(30, 4, generator=generator(1))
    gradients = []
    for checkpointing in (False, True):
        config = HyperbolicConfig(width=8, embedding_dim=3, checkpointing=checkpointing)
        model = HyperPerturb(4, config, generator=generator())
        model(x, adjacency)["policy"].sum().backward()
        gradients.append(
            torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None])
        )
    torch.testing.assert_close(*gradients)


def test_haar_is_orthogonal_and_uniform():
    q = haar_(torch.empty(6, 6), generator=generator())
    torch.testing.assert_close(q.T @ q, torch.eye(6), rtol=0, atol=1e-5)
    first = torch.stack(
        [haar_(torch.empty(3, 3), generator=generator(s))[0, 0] for s in range(2000)]
    )
    # an entry of a uniform rotation of three axes is uniform on [-1, 1]
    assert abs(first.mean()) < 0.05
    assert first.square().mean().item() == pytest.approx(1 / 3, abs=0.03)


def test_small_parts_do_what_their_names_say():
    assert annealed(0, 10) == pytest.approx(1.0)
    assert annealed(10, 10) == pytest.approx(1.0)
    assert 0.1 < annealed(9, 10) < 0.12
    for start in (0.05, 0.3, 5.0):
        assert Curvature(start)().item() == pytest.approx(start, rel=0.02)
    centres = torch.linspace(-1, 3, 51)
    p = two_hot(torch.tensor([0.7, 9.0]), centres, 0.75)
    torch.testing.assert_close(p.sum(-1), torch.ones(2))
    assert (p[0] * centres).sum().item() == pytest.approx(0.7, abs=0.01)
    weight = torch.ones(3, 3, requires_grad=True)
    penalty = TracePenalty(weight, beta=1.0, decay=0.5)
    assert penalty(weight).item() == pytest.approx(0.25)
    assert penalty(weight).item() == pytest.approx(0.75**2)
    penalty.eval()
    assert penalty(weight).item() == pytest.approx(0.75**2)


@pytest.mark.parametrize("curvature", [0.5, 2.0])
def test_riemannian_adam_reaches_a_point_and_stays_in_the_ball(curvature):
    goal = poincare.expmap0(torch.tensor([[1.2, -0.7]]), curvature)
    x = torch.nn.Parameter(poincare.expmap0(torch.tensor([[-0.5, 0.1]]), curvature))
    optimizer = RiemannianAdam([x], 0.05, curvature=curvature)
    for step in range(300):
        optimizer.zero_grad()
        poincare.dist(x, goal, curvature).square().sum().backward()
        if step == 5:
            x.grad.fill_(float("nan"))  # one bad gradient moves nothing
        optimizer.step()
        assert torch.isfinite(x).all()
        assert curvature * x.square().sum() < 1
    assert poincare.dist(x, goal, curvature).item() < 0.05
