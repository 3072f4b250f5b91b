"""Deep Q-learning on the Euclidean twin of the encoder."""

from functools import partial

from perturbkit.design.agents.card import AgentCard
from perturbkit.design.agents.dqn import DeepQ

card = AgentCard(
    name="dqn_euclidean",
    summary="double deep Q-learning on the Euclidean twin of the encoder",
    source="the comparison for `dqn`: nothing but the geometry differs",
    build=partial(DeepQ, geometry="euclidean"),
    geometry="euclidean",
)
