"""What the family of agents promises: a network, how it learns from episodes, its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import Field

from perturbkit.core.catalog import Card
from perturbkit.core.config import Config
from perturbkit.design.agents.episode import Episode
from perturbkit.design.agents.network import DesignNetwork
from perturbkit.models.hyperbolic import HyperbolicConfig


class AgentConfig(Config):
    """How an agent is built and trained."""

    network: HyperbolicConfig = HyperbolicConfig(width=24, embedding_dim=6, radius="fixed")
    """the encoder, by the recipe of Hyper++; its `geometry` is the agent's own"""
    n_updates: int = Field(default=110, ge=1)
    """gradient steps"""
    episodes: int = Field(default=6, ge=1)
    """episodes before each step"""
    learning_rate: float = Field(default=5e-3, gt=0)
    """of the first step; it falls to a tenth by the annealed schedule"""
    discount: float = Field(default=0.5, ge=0, le=1)
    """what the hits of the next round count"""
    entropy: float = Field(default=0.01, ge=0)
    """weight of the policy's entropy, against early certainty"""
    explore: float = Field(default=0.3, ge=0, le=1)
    """DQN: share of a batch chosen by chance at the start; falls to a tenth"""
    counterfactuals: int = Field(default=8, ge=0)
    """batches not taken that the simulator is asked about in each round, as only it can answer"""
    max_stage: int = Field(default=5, ge=0)
    """last stage of the curriculum"""
    worlds: int = Field(default=10, ge=1)
    """simulated worlds of each stage; every episode draws new outcomes from one of them"""
    window: int = Field(default=24, ge=1)
    """episodes over which success is judged"""
    n_test: int = Field(default=12, ge=1)
    """held-out episodes of the last stage for the learning curve"""
    test_every: int = Field(default=20, ge=1)
    """updates between points of the learning curve"""


class Learner(Protocol):
    """How one agent learns; keeps optimizer, target network and memory."""

    network: DesignNetwork
    """scores conditions"""

    def act(self, episode: Episode, share_done: float) -> Any:
        """Return scores [c] to act on while training, with exploration."""
        ...

    def learn(self, episodes: list[Episode], share_done: float) -> float:
        """Take one gradient step and return the loss."""
        ...


@dataclass(frozen=True, kw_only=True)
class AgentCard(Card):
    """A policy that is trained on simulated screens and used on real ones."""

    build: Callable[..., Learner]
    """`build(config, rng) -> Learner`"""
    geometry: str
    """of the encoder: hyperbolic or euclidean"""
