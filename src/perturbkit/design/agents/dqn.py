"""Deep Q-learning: the value of testing each condition, learned off-policy from a memory."""

from collections import deque
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from perturbkit.core.rng import torch_generator
from perturbkit.design.agents.card import AgentCard, AgentConfig
from perturbkit.design.agents.episode import Episode, Round
from perturbkit.design.agents.network import DesignNetwork
from perturbkit.models.hyperbolic import careful_step
from perturbkit.models.nn.hyperbolic_layers import annealed

MEMORY = 200
"""Episodes that are remembered."""
FOLLOW = 0.1
"""How far the target network follows at each step."""


class DeepQ:
    """Q of a condition: its hit, plus the discounted mean of the best Q values of the next round.

    Double Q-learning: the network ranks the next batch, its slow copy values it. While training, a
    falling share of each batch is chosen by chance. The simulator also says what conditions that
    were not chosen would have been worth.

    Args:
        config: settings.
        rng: initialises the weights and draws exploration and memories.
        geometry: of the encoder.

    Source:
        Mnih et al. 2015, van Hasselt et al. 2016; batches by the mean over their members.
    """

    def __init__(self, config: AgentConfig, rng: np.random.Generator, *, geometry: str) -> None:
        self.config, self.rng = config, rng
        shape = config.network.replace(geometry=geometry)
        self.network = DesignNetwork(shape, generator=torch_generator(rng))
        self.slow = DesignNetwork(shape, generator=torch_generator(rng))
        self.slow.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.Adam(self.network.parameters(), config.learning_rate)
        self.memory: deque[Episode] = deque(maxlen=MEMORY)

    def act(self, episode: Episode, share_done: float) -> np.ndarray:
        """Return Q values; a share of the conditions, by chance, is put first."""
        with torch.no_grad():
            out = self.network(torch.from_numpy(episode.x_cf), episode.task.view.adjacency)
        score = out["policy"].numpy().astype(np.float64)
        share = self.config.explore * (1 - 0.9 * share_done)
        free = np.flatnonzero(episode.free_c)
        n_random = min(len(free), int(self.rng.binomial(episode.task.batch, share)))
        score[self.rng.permutation(free)[:n_random]] += 1e3
        return score

    def learn(self, episodes: list[Episode], share_done: float) -> float:
        """Take one step on remembered episodes."""
        self.memory.extend(episodes)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * annealed(int(999 * share_done), 1000)
        drawn = self.rng.integers(len(self.memory), size=len(episodes))
        loss = torch.stack([self._loss(self.memory[int(i)]) for i in drawn]).mean()
        careful_step(self.optimizer, loss, list(self.network.parameters()))
        with torch.no_grad():
            for own, slow in zip(self.network.parameters(), self.slow.parameters(), strict=True):
                slow.lerp_(own, FOLLOW)
        return float(loss.detach())

    def _loss(self, episode: Episode) -> torch.Tensor:
        view, rounds = episode.task.view, episode.rounds
        outs = [self.network(torch.from_numpy(r.x_cf), view.adjacency)["policy"] for r in rounds]
        losses = []
        for i, (q, played) in enumerate(zip(outs, rounds, strict=True)):
            later = 0.0
            if i + 1 < len(rounds):
                then = rounds[i + 1]
                with torch.no_grad():
                    slow = self.slow(torch.from_numpy(then.x_cf), view.adjacency)["policy"]
                    allowed = outs[i + 1].masked_fill(~torch.from_numpy(then.free_c), -torch.inf)
                    best = allowed.topk(len(then.chosen_k)).indices
                    later = self.config.discount * float(slow[best].mean())
            asked = torch.from_numpy(np.r_[played.chosen_k, self._untaken(played)])
            wanted = torch.from_numpy(episode.task.table.hit_c.astype(np.float32))[asked] + later
            losses.append(functional.smooth_l1_loss(q[asked], wanted))
        return torch.stack(losses).mean()

    def _untaken(self, played: Round) -> np.ndarray:
        left = played.free_c.copy()
        left[played.chosen_k] = False
        free = np.flatnonzero(left)
        n = min(len(free), self.config.counterfactuals * len(played.chosen_k))
        return self.rng.permutation(free)[:n]


card = AgentCard(
    name="dqn",
    summary="double deep Q-learning on the hyperbolic graph encoder",
    source="Mnih 2015, doi:10.1038/nature14236; van Hasselt 2016, arXiv:1509.06461",
    build=partial(DeepQ, geometry="hyperbolic"),
    geometry="hyperbolic",
)
