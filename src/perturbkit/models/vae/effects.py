"""What a perturbation does to a cell's latent state: additive, sparse, or a moved prior.

Each effect draws the shift of every condition for every particle and says what its own latent
variables cost, as divergences from their priors in closed form wherever there is one.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from perturbkit.models.vae.divergence import bernoulli_cross_kl, bernoulli_kl, beta_kl, normal_kl
from perturbkit.models.vae.networks import Residual, initialize
from perturbkit.models.vae.targets import Targets, TargetTable

Role = Literal["added", "beside", "prior"]
"""where the shift goes: onto the cell's state; beside it; or it is the mean of its prior"""


class Drawn(NamedTuple):
    """The effects of some conditions, drawn."""

    shift: Tensor
    """[s, c, width]; s is 1 where nothing was drawn"""
    cost: Tensor
    """[u], divergence of each target's variables from their priors, mean over particles"""


class Sizes(NamedTuple):
    """How an effect is laid out."""

    width: int
    n_targets: int
    vector_width: int
    """0 for one-hot targets"""


class Embedded(nn.Module):
    """A free vector per target, without a prior: the conditional VAE."""

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__()
        self.vector = TargetTable(*sizes, generator, spread=0.1)

    def draw(self, targets: Targets, n_particles: int) -> Drawn:
        """Return the same shift for all particles, at no cost."""
        shift = self.expected(targets)[None]
        return Drawn(shift, shift.new_zeros(len(targets.which)))

    def expected(self, targets: Targets) -> Tensor:
        """Return the mean shift, [c, width]."""
        return targets.member_cu @ self.vector(targets)


class Additive(nn.Module):
    """E ~ N(0, 1), q(E) = N(free): the compositional perturbation VAE."""

    def __init__(self, sizes: Sizes, generator: torch.Generator, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.mean = TargetTable(*sizes, generator, spread=0.01)
        self.log_var = TargetTable(*sizes, generator, start=START_LOG_VAR)

    def draw(self, targets: Targets, n_particles: int) -> Drawn:
        """Draw E for each particle."""
        mean, log_var = self.mean(targets), bounded(self.log_var(targets))
        embedding = drawn_normal(mean, log_var, n_particles)
        cost = normal_kl(mean, log_var, 0.0, 2 * _log(self.scale)).sum(-1)
        return Drawn(targets.member_cu @ embedding, cost)

    def expected(self, targets: Targets) -> Tensor:
        """Return the mean shift, [c, width]."""
        return targets.member_cu @ self.mean(targets)


class SparsePrior(NamedTuple):
    """What a mask's entries are a priori."""

    probability: float
    """of an entry of the mask being one"""
    concentration: float = 0.0
    """0: that probability is known; else it is Beta(concentration x p, concentration x (1 - p)),
    one for each entry, with a free Beta as its posterior"""


class SparseAdditive(nn.Module):
    """Shift E x M with a Bernoulli mask M: the sparse additive mechanism shift VAE.

    Mean field: q(E) = N(free). Correlated: q(E | M) = N(MLP([M; target])), so that an entry
    that the mask leaves out need not be paid for.

    Args:
        sizes: width and targets.
        generator: draws the start.
        prior: of the mask.
        correlated: whether E is drawn given M.
        hidden: width of the correlated guide's network.
        n_layers: its hidden layers.

    Source:
        Bereket & Karaletsos 2023, arXiv 2311.02794 (model and both guides); equations only.
    """

    def __init__(
        self, sizes: Sizes, generator: torch.Generator, prior: SparsePrior, correlated: bool,  # noqa: FBT001
        hidden: int, n_layers: int, scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.prior, self.scale = prior, scale
        self.logits = TargetTable(*sizes, generator)
        self.guide: nn.Module
        if correlated:
            self.guide = GivenMask(sizes, generator, hidden, n_layers)
        else:
            self.guide = MeanField(sizes, generator)
        self.beta = BetaPosterior(sizes, generator, prior) if prior.concentration else None

    def draw(self, targets: Targets, n_particles: int) -> Drawn:
        """Draw M and E for each particle."""
        logits = self.logits(targets)
        mask = drawn_mask(logits, n_particles)
        mean, log_var = self.guide(targets, mask)
        embedding = drawn_normal(mean, log_var, n_particles)
        of_embedding = normal_kl(mean, log_var, 0.0, 2 * _log(self.scale))
        of_embedding = of_embedding.mean(0) if of_embedding.dim() == 3 else of_embedding
        cost = of_embedding.sum(-1) + self._mask_cost(targets, logits)
        return Drawn(targets.member_cu @ (embedding * mask), cost)

    def _mask_cost(self, targets: Targets, logits: Tensor) -> Tensor:
        if self.beta is None:
            return bernoulli_kl(logits, self.prior.probability).sum(-1)
        return self.beta.cost(targets, logits)

    def expected(self, targets: Targets) -> Tensor:
        """Return the mean shift, [c, width]; exact for the mean-field guide."""
        probability = torch.sigmoid(self.logits(targets))
        mean, _ = self.guide(targets, probability[None])
        mean = mean[0] if mean.dim() == 3 else mean
        return targets.member_cu @ (mean * probability)


class MeanField(nn.Module):
    """q(E) = N(free), whatever the mask."""

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__()
        self.mean = TargetTable(*sizes, generator, spread=0.01)
        self.log_var = TargetTable(*sizes, generator, start=START_LOG_VAR)

    def forward(self, targets: Targets, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of E, [u, width] each."""
        return self.mean(targets), bounded(self.log_var(targets))


class GivenMask(nn.Module):
    """q(E | M) = N(MLP([M; target])), the MLP shared by all targets."""

    def __init__(
        self, sizes: Sizes, generator: torch.Generator, hidden: int, n_layers: int
    ) -> None:
        super().__init__()
        self.from_mask = nn.Linear(sizes.width, hidden)
        self.from_target = TargetTable(
            hidden, sizes.n_targets, sizes.vector_width, generator, spread=0.1
        )
        self.hidden = Residual(hidden, n_layers - 1)
        self.heads = nn.Linear(hidden, 2 * sizes.width)
        initialize(self, generator)

    def forward(self, targets: Targets, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of E, [s, u, width] each, of masks [s, u, width]."""
        u = functional.leaky_relu(self.from_mask(mask) + self.from_target(targets))
        mean, log_var = self.heads(self.hidden(u)).float().chunk(2, -1)
        return mean, bounded(log_var)


class BetaPosterior(nn.Module):
    """p ~ Beta a priori for every entry of the mask, q(p) = Beta(free)."""

    def __init__(self, sizes: Sizes, generator: torch.Generator, prior: SparsePrior) -> None:
        super().__init__()
        self.a0 = prior.concentration * prior.probability
        self.b0 = prior.concentration * (1 - prior.probability)
        self.log_a = TargetTable(*sizes, generator, start=_log(self.a0))
        self.log_b = TargetTable(*sizes, generator, start=_log(self.b0))

    def cost(self, targets: Targets, logits: Tensor) -> Tensor:
        """Return KL(q(p) || p(p)) + E_q(p) KL(q(M) || Bernoulli(p)) of each target, [u]."""
        a = bounded(self.log_a(targets)).exp()
        b = bounded(self.log_b(targets)).exp()
        both = torch.digamma(a + b)
        mask = bernoulli_cross_kl(logits, torch.digamma(a) - both, torch.digamma(b) - both)
        return (mask + beta_kl(a, b, self.a0, self.b0)).sum(-1)


class MovedPrior(nn.Module):
    """z ~ N(M x a, 1) with learned a, p ~ Beta(1, k) and q(p) a point: SVAE+.

    The point that maximises the bound for a given q(M) is in closed form: with Beta(1, k) it is
    sigmoid(logits) / k. The mask costs its divergence there, less the log density of the point.

    Source:
        Lopez et al. 2023, arXiv 2211.03553, as restated in the SAMS-VAE paper.
    """

    def __init__(self, sizes: Sizes, generator: torch.Generator, k: float) -> None:
        super().__init__()
        self.k = k
        self.logits = TargetTable(*sizes, generator)
        self.mean = TargetTable(*sizes, generator, spread=0.1)

    def draw(self, targets: Targets, n_particles: int) -> Drawn:
        """Draw M for each particle."""
        logits = self.logits(targets)
        mask = drawn_mask(logits, n_particles)
        # E_q(M) log p(M | p) + log Beta(p; 1, k), at its maximum over p
        p = (torch.sigmoid(logits) / self.k).clamp(1e-6, 1 - 1e-6)
        density = (self.k - 1) * torch.log1p(-p) + _log(self.k)
        cost = (bernoulli_cross_kl(logits, torch.log(p), torch.log1p(-p)) - density).sum(-1)
        return Drawn(targets.member_cu @ (mask * self.mean(targets)), cost)

    def expected(self, targets: Targets) -> Tensor:
        """Return the mean of the prior's mean, [c, width]."""
        return targets.member_cu @ (torch.sigmoid(self.logits(targets)) * self.mean(targets))


START_LOG_VAR = -4.0
"""Log variance of a guide at the start; 0, the published one, drowns the effects at first."""


def bounded(log_value: Tensor) -> Tensor:
    """Keep a log variance or concentration where its exponential is an ordinary number."""
    return log_value.clamp(-12.0, 8.0)


def drawn_normal(mean: Tensor, log_var: Tensor, n_particles: int) -> Tensor:
    """Draw [s, ..., width] with a gradient to mean and log variance."""
    shape = mean.shape if mean.dim() == 3 else (n_particles, *mean.shape)
    noise = torch.randn(shape, device=mean.device, dtype=mean.dtype)
    return mean + (0.5 * log_var).exp() * noise


def drawn_mask(logits: Tensor, n_particles: int) -> Tensor:
    """Draw ones and zeros [s, ...]; the gradient is that of the relaxed draw at temperature 1.

    Source:
        Bengio et al. 2013 (straight through) on the relaxation of Maddison et al. 2017.
    """
    uniform = torch.rand((n_particles, *logits.shape), device=logits.device).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid(logits + torch.logit(uniform))
    return (soft > 0.5).to(soft) + soft - soft.detach()


def _log(x: float) -> float:
    return float(torch.tensor(x, dtype=torch.float64).log())
