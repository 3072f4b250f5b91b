"""Kullback-Leibler divergences in closed form, element by element, in nats."""

import torch
from torch import Tensor
from torch.nn import functional


def normal_kl(
    mean: Tensor, log_var: Tensor, prior_mean: Tensor | float = 0.0, prior_log_var: float = 0.0
) -> Tensor:
    """Return KL(N(mean, exp(log_var)) || N(prior_mean, exp(prior_log_var))), shape of `mean`."""
    ratio = log_var - prior_log_var
    squared = (mean - prior_mean).square() * torch.exp(torch.as_tensor(-prior_log_var))
    return 0.5 * (ratio.exp() + squared - 1.0 - ratio)


def normals_kl(mean: Tensor, log_var: Tensor, other_mean: Tensor, other_log_var: Tensor) -> Tensor:
    """Return KL of one learned normal from another, both with their own variance."""
    squared = (mean - other_mean).square() * torch.exp(-other_log_var)
    ratio = log_var - other_log_var
    return 0.5 * (ratio.exp() + squared - 1.0 - ratio)


def bernoulli_kl(logits: Tensor, prior: Tensor | float) -> Tensor:
    """Return KL(Bernoulli(sigmoid(logits)) || Bernoulli(prior)), exact for any logit."""
    prior = torch.as_tensor(prior, dtype=logits.dtype, device=logits.device)
    return bernoulli_cross_kl(logits, torch.log(prior), torch.log1p(-prior))


def bernoulli_cross_kl(logits: Tensor, log_p: Tensor, log_not_p: Tensor) -> Tensor:
    """Return the same with the expected log probabilities of one and zero under the prior."""
    q = torch.sigmoid(logits)
    entropy_part = q * functional.logsigmoid(logits) + (1 - q) * functional.logsigmoid(-logits)
    return entropy_part - q * log_p - (1 - q) * log_not_p


def beta_kl(a: Tensor, b: Tensor, prior_a: float, prior_b: float) -> Tensor:
    """Return KL(Beta(a, b) || Beta(prior_a, prior_b))."""
    p_a, p_b = torch.as_tensor(prior_a).to(a), torch.as_tensor(prior_b).to(a)
    log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    log_prior = torch.lgamma(p_a) + torch.lgamma(p_b) - torch.lgamma(p_a + p_b)
    both = torch.digamma(a + b)
    return (
        log_prior - log_beta
        + (a - p_a) * (torch.digamma(a) - both) + (b - p_b) * (torch.digamma(b) - both)
    )  # fmt: skip
