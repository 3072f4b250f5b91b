"""The actor-critic on the Euclidean twin: same layers, heads and number of weights."""

from functools import partial

from perturbkit.design.agents.actor_critic import ActorCritic
from perturbkit.design.agents.card import AgentCard

card = AgentCard(
    name="actor_critic_euclidean",
    summary="masked actor-critic on the Euclidean twin of the encoder",
    source="the comparison for `actor_critic`: nothing but the geometry differs",
    build=partial(ActorCritic, geometry="euclidean"),
    geometry="euclidean",
)
