"""Masked actor-critic on the hyperbolic graph encoder."""

import math
from functools import partial

import numpy as np
import torch

from perturbkit.core.rng import torch_generator
from perturbkit.design.agents.card import AgentCard, AgentConfig
from perturbkit.design.agents.episode import DesignTask, Episode
from perturbkit.design.agents.network import DesignNetwork, ordered_log_probability
from perturbkit.models.hyperbolic import careful_step
from perturbkit.models.nn.hyperbolic_layers import annealed


class ActorCritic:
    """Draws batches without replacement from the policy's scores, and learns from their hits.

    The advantage of a choice is whether it is a hit, less what the critic expected of the round's
    choices, plus the discounted surplus of the next round, all in units of a hit's standard
    deviation by chance; masked conditions have no probability. The simulator also says what
    further batches drawn from the policy would have found; their gradient needs no critic.

    Args:
        config: settings.
        rng: initialises the weights and draws the exploration.
        geometry: of the encoder.
    """

    def __init__(self, config: AgentConfig, rng: np.random.Generator, *, geometry: str) -> None:
        self.config, self.rng = config, rng
        shape = config.network.replace(geometry=geometry)
        self.network = DesignNetwork(shape, generator=torch_generator(rng))
        self.optimizer = torch.optim.Adam(self.network.parameters(), config.learning_rate)

    def act(self, episode: Episode, share_done: float) -> np.ndarray:
        """Return scores plus Gumbel noise: their order is a draw from the policy."""
        del share_done
        with torch.no_grad():
            out = self.network(torch.from_numpy(episode.x_cf), episode.task.view.adjacency)
        score = out["policy"].numpy().astype(np.float64)
        return score + self.rng.gumbel(size=len(score))

    def learn(self, episodes: list[Episode], share_done: float) -> float:
        """Take one step of policy and value gradient; the rate is annealed over the training."""
        rate = self.config.learning_rate * annealed(int(999 * share_done), 1000)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = torch.stack([self._loss(e) for e in episodes]).mean()
        careful_step(self.optimizer, loss, list(self.network.parameters()))
        return float(loss.detach())

    def _loss(self, episode: Episode) -> torch.Tensor:
        chance, view = episode.task.chance, episode.task.view
        outs = [self.network(torch.from_numpy(r.x_cf), view.adjacency) for r in episode.rounds]
        rates = [float(r.hit_k.mean()) / chance for r in episode.rounds]
        with torch.no_grad():
            expected = [math.expm1(float(self.network.expected(o["value"]))) for o in outs]
        losses = []
        for i, (out, played) in enumerate(zip(outs, episode.rounds, strict=True)):
            later = rates[i + 1] - expected[i + 1] if i + 1 < len(rates) else 0.0
            gain = played.hit_k / chance - expected[i] + self.config.discount * later
            score, free = out["policy"], torch.from_numpy(played.free_c)
            advantage = torch.from_numpy(gain / _unit(chance)).float()
            chosen = torch.from_numpy(played.chosen_k)
            policy = -(advantage * ordered_log_probability(score, free, chosen)).mean()
            n = self.config.counterfactuals
            others = n * self._untaken(score, free, episode.task, len(chosen))
            p = score.masked_fill(~free, -torch.inf).log_softmax(0)[free]
            entropy = -(p.exp() * p).sum() / math.log(max(int(free.sum()), 2))
            critic = self.network.value_loss(out["value"], math.log1p(rates[i]))
            actor = (policy + others) / (n + 1)
            losses.append(actor + 0.2 * critic - self.config.entropy * entropy)
        return torch.stack(losses).mean()

    def _untaken(
        self, score: torch.Tensor, free: torch.Tensor, task: DesignTask, k: int
    ) -> torch.Tensor:
        """Return the policy gradient loss of batches not taken, with their mean as baseline."""
        n = self.config.counterfactuals
        if not n:
            return score.sum() * 0.0
        hit = torch.from_numpy(task.table.hit_c.astype(np.float32)) / task.chance
        noise = torch.from_numpy(self.rng.gumbel(size=(n, len(score))).astype(np.float32))
        drawn = (score.detach() + noise).masked_fill(~free, -torch.inf).topk(k, 1).indices
        found = hit[drawn]
        gain = (found - found.mean()) / _unit(task.chance)
        log_p = torch.stack([ordered_log_probability(score, free, row) for row in drawn])
        return -(gain * log_p).mean()


def _unit(chance: float) -> float:
    """Return the standard deviation of a choice's hits over chance, choices being random."""
    return math.sqrt(max(1 / chance - 1, 1e-6))


card = AgentCard(
    name="actor_critic",
    summary="masked actor-critic on the hyperbolic graph encoder",
    source="this package, heads of Hyper++ (arXiv:2512.14202); batches by Plackett-Luce "
    "(Kool 2019, arXiv:1903.06059)",
    build=partial(ActorCritic, geometry="hyperbolic"),
    geometry="hyperbolic",
)
