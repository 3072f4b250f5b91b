"""What an experiment is worth: what it tells of effects, and how well levels agree with it."""

from dataclasses import dataclass

import numpy as np

from perturbkit.core.errors import ConfigError, unknown_name

WEIGHTS = {"info_gain": 1.0, "hierarchy": 0.2}
"""The weights that HyperPerturb publishes."""
STRONG = 3.0
"""Effects from so many standard deviations of noise on say who is above whom."""


def checked_weights(weights: dict[str, float] | None) -> dict[str, float]:
    """Return the reward's weights, defaults filled in.

    Raises:
        UnknownNameError: a part that does not exist.
        ConfigError: a weight below 0, or all of them 0.
    """
    given = dict(weights or {})
    for name, value in given.items():
        if name not in WEIGHTS:
            raise unknown_name("part of the reward", name, WEIGHTS)
        if not value >= 0:
            message = f"reward_weights: {name} is {value}; a weight is 0 or more"
            raise ConfigError(message)
    found = {name: float(given.get(name, default)) for name, default in WEIGHTS.items()}
    if not any(found.values()):
        message = "reward_weights: all are 0, so nothing would be learned; raise one"
        raise ConfigError(message)
    return found


@dataclass(frozen=True, eq=False)
class Reward:
    """The reward of choosing conditions one after the other."""

    delta_cr: np.ndarray
    """float64, effects in units of the noise"""
    target_c: np.ndarray
    """int64, the node that each condition perturbs, -1 for combinations"""
    weights: dict[str, float]

    def gains(self, order: np.ndarray) -> np.ndarray:
        """Return the information each condition adds to those before it, nats [k].

        In the linear-Gaussian model of effects the information of a set is
        log det(I + K) / 2 with K the products of its effects over the number of readouts; what
        one adds is log(1 + what the others leave unexplained of it) / 2.

        Args:
            order: conditions in order of choice.
        """
        x = self.delta_cr[order]
        kernel = np.eye(len(order)) + x @ x.T / x.shape[1]
        return np.log(np.diag(np.linalg.cholesky(kernel)))

    def agreement(self, order: np.ndarray, level_g: np.ndarray) -> np.ndarray:
        """Return how far the strong effects of each condition lead down the levels, [k] in [-1, 1].

        Args:
            order: conditions in order of choice.
            level_g: level of each node, smaller is higher up; readouts come first.
        """
        out = np.zeros(len(order))
        n = self.delta_cr.shape[1]
        for i, row in enumerate(order):
            source = int(self.target_c[row])
            moved = np.abs(self.delta_cr[row]) > STRONG
            if 0 <= source < n:
                moved[source] = False
            if source >= 0 and moved.any():
                out[i] = np.sign(level_g[:n][moved] - level_g[source]).mean()
        return out

    def of(self, order: np.ndarray, level_g: np.ndarray, usual: float) -> np.ndarray:
        """Return the reward of each choice, float64 [k].

        Args:
            order: conditions in order of choice.
            level_g: level of each node, smaller is higher up.
            usual: mean information of a choice by chance, which counts as 1.
        """
        gain = self.gains(order) / max(usual, 1e-9)
        return (
            self.weights["info_gain"] * gain
            + self.weights["hierarchy"] * self.agreement(order, level_g)
        )  # fmt: skip

    def usual_gain(self, rows: np.ndarray, k: int, rng: np.random.Generator) -> float:
        """Return the mean information of k conditions chosen by chance."""
        draws = [self.gains(rng.permutation(rows)[:k]).mean() for _ in range(20)]
        return float(np.mean(draws))


def strong_pairs(delta_cr: np.ndarray, target_c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (above, below): nodes whose perturbation moves another and is not moved by it.

    Args:
        delta_cr: effects in units of the noise, readouts first among the nodes.
        target_c: the node each condition perturbs, -1 for combinations.
    """
    row, column = np.nonzero(np.abs(delta_cr) > STRONG)
    source = target_c[row]
    keep = (source >= 0) & (source != column)
    pairs = set(zip(source[keep].tolist(), column[keep].tolist(), strict=True))
    found = sorted(p for p in pairs if p[::-1] not in pairs)
    table = np.array(found, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
