"""The network of an agent: the hyperbolic graph encoder or its twin, a policy and a value head."""

import torch
from torch import Tensor, nn

from perturbkit.design.agents.features import N_FEATURES
from perturbkit.models.hyperbolic import EuclideanLayer, GraphGeometry, HyperbolicConfig
from perturbkit.models.nn import poincare
from perturbkit.models.nn.hyperbolic_layers import PoincareHead, categorical_loss

N_BINS = 41
LEAST_VALUE, MOST_VALUE = -0.5, 3.5
"""Values are log(1 + efficiency): 0.69 is chance, 3.5 thirty times as good."""


class DesignNetwork(nn.Module):
    """Scores each condition of a pool of any size, and values the state of the campaign.

    A score is the sum of a hyperplane score of the embedding, a linear reading of the hidden
    vector and one of the features. The twin has the same heads and as many weights.

    Args:
        config: settings of the encoder.
        generator: initialises the weights.

    Source:
        Heads as in Hyper++, Klein et al. 2025 (arXiv:2512.14202): RMSNorm and 1/sqrt(d) inside
        `GraphGeometry`, a bounded learned scale, a categorical value loss.
    """

    centres: Tensor

    def __init__(self, config: HyperbolicConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = GraphGeometry(N_FEATURES, config, generator=generator)
        head = PoincareHead if self.encoder.hyperbolic else EuclideanLayer
        self.policy = head(config.embedding_dim, 1, generator=generator)
        self.mix = EuclideanLayer(config.width, 1, generator=generator)
        self.skip = EuclideanLayer(N_FEATURES, 1, generator=generator)
        self.value = head(config.embedding_dim, N_BINS, generator=generator)
        for weight in (self.skip.weight, self.mix.weight, self.policy.weight):
            with torch.no_grad():
                weight.mul_(0.1)  # a policy near chance to start with
        self.register_buffer("centres", torch.linspace(LEAST_VALUE, MOST_VALUE, N_BINS))

    def forward(self, x_cf: Tensor, adjacency: Tensor) -> dict[str, Tensor]:
        """Return `policy` [c], `value` [bins] and `embedding` [c, d].

        Args:
            x_cf: `features.FEATURES` of each condition.
            adjacency: normalised, [c, c].
        """
        u, h, c = self.encoder(x_cf, adjacency)
        point = poincare.expmap0(u, c) if self.encoder.hyperbolic else u
        score = self.policy(point, c) + self.mix(h, c) + self.skip(x_cf, c)
        return {"policy": score[:, 0], "value": self.value(point, c).mean(0), "embedding": u}

    def expected(self, value: Tensor) -> Tensor:
        """Return the mean of the value head's distribution, a scalar."""
        return (value.softmax(-1) * self.centres).sum()

    def value_loss(self, value: Tensor, target: float) -> Tensor:
        """Return the categorical loss of the value head against one return."""
        wanted = torch.tensor([target], dtype=value.dtype)
        return categorical_loss(value[None], wanted, self.centres)


def ordered_log_probability(score_c: Tensor, free_c: Tensor, chosen_k: Tensor) -> Tensor:
    """Return the log probability of each choice in turn, without replacement, [k].

    Plackett-Luce: what adding Gumbel noise to the scores and taking the k largest draws from.

    Args:
        score_c: scores of the pool.
        free_c: bool, what could be chosen.
        chosen_k: positions in order of choice.
    """
    taken = score_c[chosen_k]
    left = free_c.clone()
    left[chosen_k] = False
    rest = torch.logsumexp(score_c.masked_fill(~left, -torch.inf), 0)
    rest = torch.nan_to_num(rest, neginf=-1e9)
    ahead = torch.logcumsumexp(torch.cat([rest[None], taken.flip(0)]), 0)[1:].flip(0)
    return taken - ahead
