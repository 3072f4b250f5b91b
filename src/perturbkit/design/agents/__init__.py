"""Agents: policies trained on simulated screens alone. One file each."""

from perturbkit.core.catalog import Catalog
from perturbkit.design.agents.actor_critic import card as actor_critic
from perturbkit.design.agents.actor_critic_euclidean import card as actor_critic_euclidean
from perturbkit.design.agents.card import AgentCard as AgentCard
from perturbkit.design.agents.card import AgentConfig as AgentConfig
from perturbkit.design.agents.dqn import card as dqn
from perturbkit.design.agents.dqn_euclidean import card as dqn_euclidean

AGENTS = Catalog(AgentCard, globals())
