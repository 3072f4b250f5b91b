"""How counts or logs scatter around the decoder; what no particle changes is worked out once.

The decoder gives [s, n, g]: for counts the logits of each readout's share of a cell's counts, for
the normal likelihood the mean itself. Every likelihood answers in float32, whatever the precision
of the network.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

LikelihoodKind = Literal["negative_binomial", "poisson", "gaussian"]
_LOG_THETA = 12.0
"""bounds of the log of the inverse dispersion: beyond them nothing changes but rounding"""


class NegativeBinomial(nn.Module):
    """NB with mean `library * softmax(logits)` and one inverse dispersion per readout.

    The library is the cell's observed total, conditioned on, as in the SAMS-VAE family.

    Source:
        Equations of reference "GPO-VAE", section 1.2; variance = mean + mean^2 / theta.
    """

    counts = True

    def __init__(self, n_readouts: int) -> None:
        super().__init__()
        self.log_theta = nn.Parameter(torch.full((n_readouts,), 1.0))

    @property
    def theta(self) -> Tensor:
        """Inverse dispersion of each readout, [g]."""
        return self.log_theta.clamp(-_LOG_THETA, _LOG_THETA).exp()

    def log_prob(self, output: Tensor, x: Tensor, library: Tensor) -> Tensor:
        """Return the log likelihood of each cell under each particle, [s, n].

        Args:
            output: logits of the decoder, [s, n, g].
            x: counts, [n, g].
            library: total of each cell, at least 1, [n].
        """
        log_theta = self.log_theta.clamp(-_LOG_THETA, _LOG_THETA)
        body = _NegativeBinomialBody.apply(output, log_theta, x, library.log())
        return body + self._constant(log_theta, x)

    def _constant(self, log_theta: Tensor, x: Tensor) -> Tensor:
        """Return what no particle changes, [n]; gamma functions of counts other than zero only."""
        cell, gene = torch.nonzero(x, as_tuple=True)
        value, theta = x[cell, gene], log_theta.exp()
        of_theta = theta[gene]
        terms = torch.lgamma(value + of_theta) - torch.lgamma(of_theta) - torch.lgamma(value + 1)
        return x.new_zeros(len(x)).index_add(0, cell, terms) + (theta * log_theta).sum()

    def fluctuation(self, share_cg: Tensor, size: Tensor) -> Tensor:
        """Return by how much the variance of a sum of counts exceeds the sum, [c, g].

        Args:
            share_cg: share of each readout.
            size: sum of squared totals over the sum of totals of the cells summed, [c].
        """
        return 1 + share_cg * size[:, None] / self.theta


class Poisson(nn.Module):
    """Poisson with mean `library * softmax(logits)`."""

    counts = True

    def __init__(self, n_readouts: int) -> None:
        super().__init__()
        self.n_readouts = n_readouts

    @property
    def theta(self) -> Tensor:
        """Inverse dispersion of the negative binomial that is as good as this, [g]."""
        return torch.full((self.n_readouts,), 1e8)

    def log_prob(self, output: Tensor, x: Tensor, library: Tensor) -> Tensor:
        """Return the log likelihood of each cell under each particle, [s, n]."""
        log_share = torch.log_softmax(output.float(), -1)
        log_mean = log_share + library.log()[:, None]
        constant = torch.lgamma(x + 1).sum(-1)
        # shares add to one, so the means of a cell add to its library
        return torch.linalg.vecdot(log_mean, x.expand_as(log_mean)) - library - constant

    def fluctuation(self, share_cg: Tensor, size: Tensor) -> Tensor:
        """Return by how much the variance of a sum of counts exceeds the sum, [c, g]."""
        return torch.ones_like(share_cg)


class Gaussian(nn.Module):
    """Normal around the decoder's output with one standard deviation per readout."""

    counts = False

    def __init__(self, n_readouts: int) -> None:
        super().__init__()
        self.log_sd = nn.Parameter(torch.zeros(n_readouts))

    def log_prob(self, output: Tensor, x: Tensor, library: Tensor) -> Tensor:
        """Return the log likelihood of each cell under each particle, [s, n]."""
        log_sd = self.log_sd.clamp(-6.0, 6.0)
        scaled = (x - output.float()) * torch.exp(-log_sd)
        constant = log_sd.sum() + 0.918938533 * x.shape[1]
        return -0.5 * scaled.square().sum(-1) - constant


def likelihood_of(kind: LikelihoodKind, n_readouts: int) -> Any:
    """Return a new likelihood."""
    kinds = {"negative_binomial": NegativeBinomial, "poisson": Poisson, "gaussian": Gaussian}
    return kinds[kind](n_readouts)


class _NegativeBinomialBody(torch.autograd.Function):
    """Sum over readouts of x log mu - (x + theta) log(mu + theta), and its gradients in one pass.

    One particle at a time, so that what is worked on stays in the cache; the gradient is made
    beside the value, so that backward is a product by [s, n] numbers.
    """

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, log_theta: Tensor, x: Tensor, log_library: Tensor
    ) -> Tensor:
        theta = log_theta.float().exp()
        x_theta, share_scale = x + theta, torch.exp(-log_library)[:, None]
        value = x.new_empty(output.shape[:2])
        of_output = torch.empty_like(output)
        of_theta = torch.empty(output.shape, dtype=torch.float32, device=output.device)
        for s in range(output.shape[0]):
            log_mean = output[s].float()
            log_mean = log_mean - (log_mean.logsumexp(-1) - log_library)[:, None]
            value[s] = torch.linalg.vecdot(x, log_mean)
            mean = log_mean.exp_()
            total = mean + theta
            ratio = x_theta / total
            log_total = total.log_()
            value[s] -= torch.linalg.vecdot(x_theta, log_total)
            residual = torch.addcmul(x, mean, ratio, value=-1)
            share = mean.mul_(share_scale)
            torch.addcmul(residual, share, residual.sum(-1, keepdim=True), value=-1, out=residual)
            of_output[s] = residual
            torch.add(log_total, ratio, out=of_theta[s])
        ctx.save_for_backward(of_output, of_theta, theta)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_output, of_theta, theta = ctx.saved_tensors
        weight = grads[0]
        summed = torch.mv(of_theta.flatten(0, 1).T, weight.flatten())
        scaled = of_output * weight[..., None].to(of_output.dtype)
        return scaled, -theta * summed, None, None
