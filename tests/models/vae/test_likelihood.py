import numpy as np
import pytest
import torch
from scipy import stats

from perturbkit.models.vae.likelihood import Gaussian, NegativeBinomial, Poisson


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.poisson(1.5, (6, 9)).astype(np.float32))
    x[:, 4] = 0  # a readout that is never seen
    x[2] = 0
    x[2, 1] = 40
    logits = torch.from_numpy(rng.normal(size=(3, 6, 9)).astype(np.float32))
    return x, x.sum(-1).clamp_min(1), logits


def by_scipy(x, library, logits, theta) -> np.ndarray:
    share = torch.softmax(logits.double(), -1).numpy()
    mean = library.double().numpy()[:, None] * share
    return stats.nbinom.logpmf(x.numpy(), theta, theta / (theta + mean)).sum(-1)


def test_negative_binomial_against_scipy(case) -> None:
    x, library, logits = case
    likelihood = NegativeBinomial(9)
    with torch.no_grad():
        likelihood.log_theta.copy_(torch.linspace(-2, 3, 9))
    expected = by_scipy(x, library, logits, likelihood.theta.detach().double().numpy())
    found = likelihood.log_prob(logits, x, library).detach()
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-4)


def test_gradients_of_the_fused_body_are_those_of_the_plain_formula(case) -> None:
    x, library, logits = case
    fused = NegativeBinomial(9)
    with torch.no_grad():
        fused.log_theta.copy_(torch.linspace(-2, 3, 9))
    weight = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    a = logits.clone().requires_grad_()
    (weight * fused.log_prob(a, x, library)).sum().backward()

    b = logits.double().requires_grad_()
    log_theta = fused.log_theta.detach().double().requires_grad_()
    theta, counts = log_theta.exp(), x.double()
    mean = library.double()[:, None] * torch.softmax(b, -1)
    plain = (
        torch.lgamma(counts + theta) - torch.lgamma(theta) - torch.lgamma(counts + 1)
        + theta * (theta / (theta + mean)).log() + counts * (mean / (theta + mean)).log()
    ).sum(-1)  # fmt: skip
    (weight.double() * plain).sum().backward()
    torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fused.log_theta.grad.double(), log_theta.grad, rtol=1e-4, atol=1e-3)


def test_half_precision_logits_get_half_precision_gradients(case) -> None:
    x, library, logits = case
    low = logits.bfloat16().requires_grad_()
    value = NegativeBinomial(9).log_prob(low, x, library)
    assert value.dtype == torch.float32
    value.sum().backward()
    assert low.grad.dtype == torch.bfloat16


def test_poisson_and_normal_against_scipy(case) -> None:
    x, library, logits = case
    mean = library.numpy()[:, None] * torch.softmax(logits, -1).numpy()
    found = Poisson(9).log_prob(logits, x, library)
    np.testing.assert_allclose(found, stats.poisson.logpmf(x, mean).sum(-1), rtol=1e-4)
    normal = Gaussian(9)
    with torch.no_grad():
        normal.log_sd.copy_(torch.linspace(-1, 1, 9))
    sd = normal.log_sd.detach().exp().numpy()
    expected = stats.norm.logpdf(x, logits, sd).sum(-1)
    np.testing.assert_allclose(normal.log_prob(logits, x, library).detach(), expected, rtol=1e-4)


@pytest.mark.parametrize("log_theta", [-1e6, -30.0, 30.0, 1e6])
def test_extreme_dispersions_and_logits_stay_finite(case, log_theta: float) -> None:
    x, library, logits = case
    likelihood = NegativeBinomial(9)
    with torch.no_grad():
        likelihood.log_theta.fill_(log_theta)
    far = (logits * 50).requires_grad_()
    value = likelihood.log_prob(far, x, library)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(far.grad).all()


def test_variance_of_a_sum_of_counts(case) -> None:
    """Against draws: 200 cells of different totals."""
    rng = np.random.default_rng(3)
    library, share, theta = rng.uniform(500, 2000, 200), 0.002, 2.0
    mean = library * share
    sums = rng.poisson(rng.gamma(theta, mean / theta, (20_000, 200))).sum(1)
    likelihood = NegativeBinomial(1)
    with torch.no_grad():
        likelihood.log_theta.fill_(np.log(theta))
    size = torch.tensor([(library**2).sum() / library.sum()])
    wider = likelihood.fluctuation(torch.tensor([[share]]), size).item()
    assert sums.var() / sums.mean() == pytest.approx(wider, rel=0.05)
