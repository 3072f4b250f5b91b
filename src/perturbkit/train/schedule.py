"""Learning rates as pure functions of the step, so that resuming needs no state."""

import math

from perturbkit.train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, n_steps: int, epoch: int) -> float:
    """Return the learning rate of one optimizer step.

    Args:
        config: which schedule, its peak and its shape.
        step: the step about to be made, from 0.
        n_steps: steps in the whole training.
        epoch: the epoch that the step belongs to, from 0.
    """
    peak = config.learning_rate
    if config.schedule == "constant":
        return peak
    if config.schedule == "exponential":
        return peak * config.decay**epoch
    n_warm = max(1, round(config.warmup * n_steps))
    if step < n_warm:
        return peak * (step + 1) / n_warm
    done = (step - n_warm) / max(1, n_steps - n_warm)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
