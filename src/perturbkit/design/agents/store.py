"""A trained agent on disk, and as a policy: a folder with agent.safetensors and agent.json."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from perturbkit.core.errors import FileError
from perturbkit.core.files import atomic_path, existing, read_json, sha256, write_json
from perturbkit.design.agents import AGENTS
from perturbkit.design.agents.card import AgentConfig
from perturbkit.design.agents.features import FEATURES, PoolView
from perturbkit.design.agents.network import DesignNetwork
from perturbkit.design.knowledge import Knowledge

FORMAT = 1
"""Version of agent.json; raised when its meaning changes."""
WEIGHTS, ABOUT = "agent.safetensors", "agent.json"


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained agent, ready to score the conditions of any pool."""

    kind: str
    """its name in AGENTS"""
    config: AgentConfig
    network: DesignNetwork

    def scores(self, view: PoolView, target_c: np.ndarray) -> np.ndarray:
        """Return how much each condition should be tested next, float64 [c].

        Args:
            view: the pool.
            target_c: learning targets of what was measured, NaN elsewhere.
        """
        with torch.no_grad():
            x = torch.from_numpy(view.features(target_c))
            return self.network(x, view.adjacency)["policy"].double().numpy()

    def fit(
        self, knowledge: Knowledge, target_c: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Score a pool as a surrogate does, [1, c]: the greedy choice is the agent's."""
        del rng  # a trained agent draws nothing
        return self.scores(_view(knowledge), target_c)[None]


@lru_cache(maxsize=4)
def _view(knowledge: Knowledge) -> PoolView:
    """Keep what does not change between the rounds of a pool."""
    return PoolView(knowledge)


def save_agent(folder: str | Path, agent: Agent, about: dict[str, Any]) -> None:
    """Write agent.safetensors, then agent.json with its checksum and how it was trained."""
    folder = Path(folder)
    weights = {k: v.contiguous() for k, v in agent.network.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(weights, temporary)
    write_json(folder / ABOUT, {
        "format": FORMAT, "kind": agent.kind, "config": agent.config.plain(),
        "features": list(FEATURES), "sha256": sha256(folder / WEIGHTS), "training": about,
    })  # fmt: skip


def is_agent(folder: str | Path) -> bool:
    """Whether a folder holds a trained agent."""
    return (Path(folder) / ABOUT).is_file()


def refuse_agent(folder: str | Path) -> None:
    """Refuse a folder that holds an agent already.

    Raises:
        FileError: it does.
    """
    if is_agent(folder):
        message = f"{folder} holds a trained agent; choose another folder, or remove that one"
        raise FileError(message)


def load_agent(folder: str | Path) -> Agent:
    """Read an agent.

    Raises:
        FileError: files missing, of another layout, or weights that do not match.
        UnknownNameError: an agent of a kind that is not known here.
    """
    folder = Path(folder)
    about = read_json(existing(folder / ABOUT, "agent"))
    weights = existing(folder / WEIGHTS, "weights file")
    if about.get("format") != FORMAT or about.get("features") != list(FEATURES):
        message = f"{folder} holds an agent of another version; train it again"
        raise FileError(message)
    if sha256(weights) != about["sha256"]:
        message = f"{weights} is not the file that was written with the agent; train it again"
        raise FileError(message)
    card = AGENTS[about["kind"]]
    config = AgentConfig.parse(about["config"], ABOUT)
    shape = config.network.replace(geometry=card.geometry)
    network = DesignNetwork(shape, generator=torch.Generator().manual_seed(0))
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        message = f"{weights} does not hold this agent's weights ({error}); train it again"
        raise FileError(message) from error
    return Agent(card.name, config, network.eval())
