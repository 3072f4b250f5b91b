"""Training HyperPerturb on one screen: effects by regression, the policy by its reward."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from perturbkit.core.config import Config
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng, torch_generator
from perturbkit.core.screen import Screen
from perturbkit.design.agents.network import ordered_log_probability
from perturbkit.design.hyperperturb.fitted import FittedHyperPerturb
from perturbkit.design.hyperperturb.inputs import CHOOSE, JUDGE, TRAIN, Inputs, prepare_inputs
from perturbkit.design.hyperperturb.reward import Reward, checked_weights, strong_pairs
from perturbkit.models.hyperbolic import HyperbolicConfig, HyperPerturb, careful_step
from perturbkit.models.nn.hyperbolic_layers import TracePenalty, annealed

SCHEDULES = ("constant", "cosine", "annealed", "quantum")
EPISODE = 16
"""Conditions in an episode of the policy, at most."""
ORDER_PAIRS = 512
ORDER_SCALE = 0.2


class HyperPerturbConfig(Config):
    """Settings of HyperPerturb on one screen."""

    network: HyperbolicConfig = HyperbolicConfig()
    """the encoder and its heads"""
    epochs: int = Field(default=60, ge=1)
    """passes over the training conditions"""
    batch: int = Field(default=16, ge=1)
    """conditions in a step"""
    learning_rate: float = Field(default=1e-2, gt=0)
    """at the start"""
    lr_schedule: Literal["constant", "cosine", "annealed", "quantum"] = "annealed"
    """`annealed` is a cosine times an exponential; `quantum` is its published name"""
    sparsity: float = Field(default=0.15, gt=0, le=1)
    """share of all effects that stay in the network; the others are pulled to 0 in training"""
    trace_penalty: float = Field(default=0.0, ge=0)
    """strength of the penalty on weights that stay in use, published as STDP"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: matrix products in bfloat16, geometry and losses in float32"""
    validation: float = Field(default=0.2, ge=0, lt=1)
    """share of perturbations held out: half choose the epoch, half judge the effects"""
    seed: int = 0
    """of the weights, the held-out perturbations and the episodes"""


def rate_at(config: HyperPerturbConfig, epoch: int) -> float:
    """Return the learning rate of an epoch."""
    share = epoch / config.epochs
    if config.lr_schedule == "constant":
        return config.learning_rate
    if config.lr_schedule == "cosine":
        return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
    return config.learning_rate * annealed(epoch, config.epochs)


class HyperPerturbTrainer:
    """Fits HyperPerturb: `HyperPerturbTrainer(curvature=1.0).train(screen, graph)`.

    Args:
        curvature: magnitude of the negative curvature at the start, 0.05 to 5.
        reward_weights: of the policy's reward: `info_gain` (1.0) and `hierarchy` (0.2).
        lr_schedule: `annealed` (published as `quantum`), `cosine` or `constant`.
        **settings: others of `HyperPerturbConfig`; those of `HyperbolicConfig` by name as well,
            such as `geometry="euclidean"`, `checkpointing=True`, `adaptive=False`.

    Raises:
        ConfigError: a setting that is unknown or out of range.
        UnknownNameError: a part of the reward that does not exist.
    """

    def __init__(
        self,
        curvature: float = 1.0,
        reward_weights: dict[str, float] | None = None,
        lr_schedule: str = "annealed",
        **settings: Any,
    ) -> None:
        own = {k: v for k, v in settings.items() if k not in HyperbolicConfig.model_fields}
        network = {k: v for k, v in settings.items() if k in HyperbolicConfig.model_fields}
        self.reward_weights = checked_weights(reward_weights)
        self.config = HyperPerturbConfig.parse({
            **own, "lr_schedule": lr_schedule,
            "network": {"curvature": float(curvature), **network},
        })  # fmt: skip

    def train(
        self, data: Screen | Responses, graph: Graph | None = None,
        watch: Callable[[int, int, dict[str, float]], None] | None = None,
    ) -> FittedHyperPerturb:  # fmt: skip
        """Fit the encoder, the effects, the policy and the value on one screen.

        Args:
            data: cells, profiles or measured responses.
            graph: a prior network of genes.
            watch: told (epoch, epochs, record) after each epoch.

        Raises:
            SchemaError: too few perturbed conditions, or a network of other genes.
        """
        inputs = prepare_inputs(
            data, graph, self.config.validation, named_rng(self.config.seed, "held out")
        )
        return _Fit(self.config, self.reward_weights, inputs).run(watch)


class _Fit:
    """The state of one training."""

    def __init__(
        self, config: HyperPerturbConfig, weights: dict[str, float], inputs: Inputs
    ) -> None:
        self.config, self.inputs, self.weights = config, inputs, weights
        generator = torch_generator(named_rng(config.seed, "weights"))
        self.model = HyperPerturb(inputs.x_gf.shape[1], config.network, generator=generator)
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, config.learning_rate)
        self.trace = TracePenalty(self.model.query, beta=config.trace_penalty)
        self.rng = named_rng(config.seed, "order")
        self.train_rows = np.flatnonzero(inputs.role_c == TRAIN)
        self.target_c = _single_targets(inputs)
        noise = _noise(inputs)
        delta = inputs.delta_cr.double().numpy() / noise
        self.reward = Reward(delta, self.target_c, weights)
        self.singles = self.train_rows[self.target_c[self.train_rows] >= 0]
        self.k = min(EPISODE, max(1, len(self.singles) // 2))
        self.usual = self.reward.usual_gain(self.singles, self.k, self.rng)
        self.pairs = strong_pairs(delta[self.train_rows], self.target_c[self.train_rows])

    def run(self, watch: Callable[[int, int, dict[str, float]], None] | None) -> FittedHyperPerturb:
        """Train, keeping the weights of the epoch that the choosing perturbations prefer."""
        best, kept, history = math.inf, self.model.state_dict(), []
        for epoch in range(self.config.epochs):
            for group in self.optimizer.param_groups:
                group["lr"] = rate_at(self.config, epoch)
            losses = [self._step(rows) for rows in self._batches()]
            record = {"epoch": epoch, "loss": float(np.mean(losses))}
            for name, role in (("choose", CHOOSE), ("judge", JUDGE)):
                record |= {f"{name}_{k}": v for k, v in self._errors(role).items()}
            history.append(record)
            # without perturbations to choose by the last weights stay
            error = record["choose_error"]
            if error < best or math.isnan(error):
                best = error
                kept = {k: v.clone() for k, v in self.model.state_dict().items()}
            if watch is not None:
                watch(epoch, self.config.epochs, record)
        self.model.load_state_dict(kept)
        return FittedHyperPerturb(
            self.model.eval(), self.inputs, self.config.plain(), self.weights, history
        )

    def _batches(self) -> list[np.ndarray]:
        order = self.rng.permutation(self.train_rows)
        n = math.ceil(len(order) / self.config.batch)
        return np.array_split(order, n)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "bf16":
            return torch.autocast("cpu", torch.bfloat16)
        return nullcontext()

    def _step(self, rows: np.ndarray) -> float:
        self.model.train()
        with self._autocast():
            out = self.model(self.inputs.x_gf, self.inputs.adjacency)
            predicted, effects = predict_rows(self.model, self.inputs, out, rows)
        out = {k: v.float() for k, v in out.items()}
        known = self.inputs.known_cr[rows]
        error = functional.huber_loss(
            predicted.float(), self.inputs.delta_cr[rows], reduction="none"
        )
        loss = (error * known).sum() / known.sum().clamp_min(1)
        loss = loss + 0.05 * _weak(effects.float(), self.config.sparsity)
        loss = loss + self.weights["hierarchy"] * self._order_loss(out["embedding"])
        loss = loss + 0.05 * self._policy_loss(out)
        if self.config.trace_penalty:
            loss = loss + self.trace(self.model.query)
        careful_step(self.optimizer, loss, self.parameters)
        return float(loss.detach())

    def _order_loss(self, u_gd: Tensor) -> Tensor:
        """Pull genes inwards that move others without being moved: radius becomes level."""
        above, below = self.pairs
        if not len(above):
            return u_gd.sum() * 0.0
        some = self.rng.integers(len(above), size=min(ORDER_PAIRS, len(above)))
        radius = u_gd.square().sum(-1).add(1e-12).sqrt()
        gap = radius[above[some]] - radius[below[some]]
        return functional.softplus(gap / ORDER_SCALE).mean()

    def _policy_loss(self, out: dict[str, Tensor]) -> Tensor:
        """Draw an episode from the policy; return the loss of policy and value by its reward."""
        score = out["policy"][self.target_c[self.singles]]
        noise = torch.from_numpy(self.rng.gumbel(size=len(self.singles)).astype(np.float32))
        chosen = (score.detach() + noise).topk(self.k).indices
        level = out["embedding"].detach().norm(dim=-1).numpy()
        reward = self.reward.of(self.singles[chosen.numpy()], level, self.usual)
        free = torch.ones(len(self.singles), dtype=torch.bool)
        expected = float(self.model.expected_value(out).detach())
        advantage = torch.from_numpy(reward - expected).float()
        policy = -(advantage * ordered_log_probability(score, free, chosen)).mean()
        return policy + 0.5 * self.model.value_loss(out, torch.tensor(float(reward.mean())))

    def _errors(self, role: int) -> dict[str, float]:
        """Return the squared error of held-out changes, and that of the mean training change."""
        rows = np.flatnonzero(self.inputs.role_c == role)
        if not len(rows):
            return {"error": math.nan, "of_mean": math.nan}
        self.model.eval()
        with torch.no_grad():
            out = self.model(self.inputs.x_gf, self.inputs.adjacency)
            predicted, _ = predict_rows(self.model, self.inputs, out, rows)
        known, truth = self.inputs.known_cr[rows], self.inputs.delta_cr[rows]
        n = known.sum().clamp_min(1)
        error = ((predicted - truth).square() * known).sum() / n
        usual = ((self.inputs.center_r - truth).square() * known).sum() / n
        return {"error": float(error), "of_mean": float(usual)}


def predict_rows(
    model: HyperPerturb, inputs: Inputs, out: dict[str, Tensor], rows: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Return predicted changes of conditions [k, r] and the effects of their targets [s, r].

    The change of a condition is the mean training change plus the sum of its targets' effects.
    """
    wanted = inputs.target_cg[rows]
    nodes = np.unique(wanted.indices)
    gather = torch.from_numpy(wanted[:, nodes].toarray())
    effects = model.effects(out, torch.from_numpy(nodes.astype(np.int64)))
    effects = effects[:, : inputs.n_readouts]
    return inputs.center_r + gather @ effects, effects


def _weak(effects: Tensor, share: float) -> Tensor:
    """Return the mean size of all but the strongest share of effects."""
    size = effects.abs()
    if share >= 1:
        return size.sum() * 0.0
    n = max(1, round((1 - share) * size.numel()))
    return size.flatten().topk(n, largest=False).values.mean()


def _single_targets(inputs: Inputs) -> np.ndarray:
    n = np.diff(inputs.target_cg.indptr)
    first = np.full(len(n), -1, np.int64)
    one = n == 1
    first[one] = inputs.target_cg.indices[inputs.target_cg.indptr[:-1][one]]
    return first


def _noise(inputs: Inputs) -> float:
    """Return the spread of changes that are not effects, by the median absolute change."""
    size = inputs.delta_cr.abs()[inputs.known_cr]
    return max(1.4826 * float(size.median()), 0.05)
