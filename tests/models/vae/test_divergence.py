import pytest
import torch
from torch.distributions import Bernoulli, Beta, Normal, kl_divergence

from perturbkit.models.vae.divergence import (
    bernoulli_cross_kl,
    bernoulli_kl,
    beta_kl,
    normal_kl,
    normals_kl,
)

GENERATOR = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def test_normal_against_torch() -> None:
    mean, log_var, prior = drawn(5, 3), drawn(5, 3), drawn(5, 3)
    expected = kl_divergence(
        Normal(mean, (0.5 * log_var).exp()), Normal(prior, torch.tensor(0.7).double())
    )
    found = normal_kl(mean, log_var, prior, 2 * float(torch.tensor(0.7).double().log()))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_two_learned_normals_divide_the_distance_by_the_variance() -> None:
    """The published counterfactual loss leaves that division out."""
    mean, log_var, other, other_log_var = drawn(4), drawn(4), drawn(4), drawn(4) - 3
    expected = kl_divergence(
        Normal(mean, (0.5 * log_var).exp()), Normal(other, (0.5 * other_log_var).exp())
    )
    torch.testing.assert_close(normals_kl(mean, log_var, other, other_log_var), expected)


@pytest.mark.parametrize("prior", [0.001, 0.3, 0.9])
def test_bernoulli_against_torch(prior: float) -> None:
    logits = 3 * drawn(50)
    expected = kl_divergence(
        Bernoulli(logits=logits), Bernoulli(torch.tensor(prior, dtype=torch.float64))
    )
    torch.testing.assert_close(bernoulli_kl(logits, prior), expected, rtol=1e-6, atol=1e-8)


def test_bernoulli_of_extreme_logits_is_finite_with_finite_gradient() -> None:
    logits = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    value = bernoulli_kl(logits, 0.3)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()


def test_beta_against_torch() -> None:
    a, b = drawn(6).exp(), drawn(6).exp()
    expected = kl_divergence(Beta(a, b), Beta(torch.tensor(0.4), torch.tensor(3.0)))
    torch.testing.assert_close(beta_kl(a, b, 0.4, 3.0), expected, rtol=1e-5, atol=1e-6)


def test_beta_bernoulli_cross_term_is_the_mean_over_the_beta() -> None:
    logits, a, b = torch.tensor([0.7]), torch.tensor(2.0), torch.tensor(5.0)
    p = Beta(a, b).sample((200_000,))
    both = torch.digamma(a + b)
    found = bernoulli_cross_kl(logits, torch.digamma(a) - both, torch.digamma(b) - both)
    sampled = torch.stack([bernoulli_kl(logits, x) for x in (p,)]).mean()
    torch.testing.assert_close(found[0], sampled, rtol=0.01, atol=0.01)
