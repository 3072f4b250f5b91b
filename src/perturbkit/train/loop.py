"""The training loop: steps, evaluation, early stopping, checkpoints, exact resume.

It knows nothing of screens or models: a source yields batches, the model gives their loss.
accelerate places the model, averages gradients over processes and runs the backward pass.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from perturbkit.core.errors import DivergedError
from perturbkit.core.rng import torch_generator
from perturbkit.train import checkpoint as checkpoints
from perturbkit.train.checkpoint import Checkpoint, Position
from perturbkit.train.config import TrainConfig
from perturbkit.train.schedule import learning_rate

_CHECK_EVERY = 20
"""steps between looks at the loss, each of which waits for the device"""


class Source(Protocol):
    """Where batches come from; the order is a function of the epoch alone."""

    @property
    def n_batches(self) -> int:
        """Batches in one epoch."""
        ...

    def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator[Any]:
        """Yield the batches of an epoch from batch `start` on."""
        ...


@dataclass(frozen=True)
class Event:
    """One line of the story of a training."""

    step: int
    n_steps: int
    epoch: int
    train_loss: float
    val_loss: float | None
    lr: float
    seconds: float


@dataclass
class Hooks:
    """What the loop calls on its way."""

    validate: Callable[[], float] | None = None
    """returns the loss on the validation conditions"""
    record: Callable[[Event], None] = field(default=lambda _: None)
    """called after each evaluation"""
    watch: Callable[[int, int], None] = field(default=lambda _step, _n_steps: None)
    """called every few steps with (step, n_steps)"""
    stop: Callable[[], bool] = field(default=lambda: False)
    """asked after each evaluation whether to end the training"""
    folder: Path | None = None
    """where checkpoints go; None writes none"""


class _Loss(nn.Module):
    """Makes the model's `loss` the forward pass, which is what accelerate can wrap."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Tensor:
        return self.model.loss(batch)  # type: ignore[operator]


def train(
    model: nn.Module, source: Source, config: TrainConfig, rng: np.random.Generator, hooks: Hooks
) -> Position:
    """Train `model` in place, going on from the newest checkpoint in `hooks.folder`.

    The random draws of the training (dropout) come from `rng` alone; the global torch generator
    is left as it was. Killed at any point and started again, it ends in the same bits on a CPU.

    Args:
        model: gives `loss(batch)`.
        source: the batches.
        config: the settings.
        rng: seeds dropout.
        hooks: validation, records, checkpoints.

    Returns:
        Where training ended. The model holds the weights that `config.keep` names.

    Raises:
        DivergedError: the loss is not finite; the last good checkpoint stays.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.set_rng_state(torch_generator(rng).get_state())
        return _Training(model, source, config, hooks).run()


class _Training:
    """The state of one training between two steps."""

    def __init__(self, model: nn.Module, source: Source, config: TrainConfig, hooks: Hooks) -> None:
        self.accelerator = Accelerator()
        self.config, self.source, self.hooks = config, source, hooks
        self.model = model
        per_step = config.accumulate * self.accelerator.num_processes
        self.steps_per_epoch = math.ceil(source.n_batches / per_step)
        self.n_steps = self.steps_per_epoch * config.n_epochs
        self.position = Position()
        self.best: dict[str, Tensor] = {}
        self.average = _floats(model) if config.average else {}
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay,
            fused=True,
        )  # fmt: skip
        self.loss, self.optimizer = self.accelerator.prepare(_Loss(model), optimizer)
        self.started = self.saved = time.monotonic()
        device = self.accelerator.device
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        self._restore()

    def run(self) -> Position:
        if self.position.step == 0 and self.hooks.validate is not None:
            self._remember(self._validate())  # what training starts from may be the best
        while not self.position.finished:
            epoch = self.position.step // self.steps_per_epoch
            self._train_epoch(epoch)
            self._look(epoch)
            done = epoch + 1
            due = done % self.config.evaluate_every == 0 or done == self.config.n_epochs
            if due:
                self._evaluate(epoch)
            patience = self.config.patience
            stale = bool(patience) and self.position.n_bad >= patience
            stale = stale or (due and self.hooks.stop())
            self.position.finished = stale or done == self.config.n_epochs
            if self._may_save() or (self.position.finished and self.hooks.folder is not None):
                self._save()
        if self.config.keep == "best" and self.best:
            self.model.load_state_dict(self.best)
        elif self.average:
            self.model.load_state_dict(self.average, strict=False)
        return self.position

    def _train_epoch(self, epoch: int) -> None:
        self.model.train()
        first = self.position.step % self.steps_per_epoch
        batches = self._batches(epoch, first)
        for _ in range(first, self.steps_per_epoch):
            self._step(epoch, list(islice(batches, self.config.accumulate)))
            step = self.position.step
            if step % _CHECK_EVERY == 0:
                self._look(epoch)
                self.hooks.watch(step, self.n_steps)
            # the last step of an epoch is saved after evaluation
            if step % self.steps_per_epoch and self._may_save():
                self._look(epoch)
                self._save()

    def _batches(self, epoch: int, first: int) -> Iterator[Any]:
        """Yield this process's batches; the last step of an epoch starts the epoch over."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        start = first * self.config.accumulate * world
        device = self.accelerator.device
        whole = self.source.epoch(epoch, start, device)
        n_left = self.steps_per_epoch * self.config.accumulate * world - start
        for i in range(n_left):
            batch = next(whole, None)
            if batch is None:
                whole = self.source.epoch(epoch, 0, device)
                batch = next(whole)
            if i % world == rank:
                yield batch

    def _step(self, epoch: int, batches: list[Any]) -> None:
        rate = learning_rate(self.config, self.position.step, self.n_steps, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            with self._autocast():
                loss = self.loss(batch)
            self.accelerator.backward(loss / len(batches))
            self.loss_sum += loss.detach()
            self.position.n_losses += 1
        norm = self.accelerator.clip_grad_norm_(self.loss.parameters(), self.config.gradient_clip)
        if norm is not None:
            self.finite &= torch.isfinite(norm)
        self.optimizer.step()
        self.position.step += 1
        for name, value in (_floats(self.model, copy=False) if self.average else {}).items():
            self.average[name].lerp_(value, 1 - self.config.average)

    def _look(self, epoch: int) -> None:
        """Wait for the device and stop if the training left the finite numbers.

        The sum of the losses tells of any loss before it. It is looked at every few steps and
        before anything is kept, since each look is a wait.
        """
        self.position.loss_sum = float(self.loss_sum)
        if not (math.isfinite(self.position.loss_sum) and bool(self.finite)):
            rate = learning_rate(self.config, self.position.step - 1, self.n_steps, epoch)
            self._diverged(rate)

    def _autocast(self) -> torch.autocast:
        device = self.accelerator.device.type
        enabled = self.config.precision == "bf16" or (
            self.config.precision == "auto" and computes_bf16(device)
        )
        return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)

    def _diverged(self, rate: float) -> None:
        kept = "the last good checkpoint is kept" if self.hooks.folder else "nothing was saved"
        message = (
            f"training diverged by step {self.position.step} (loss not finite, learning rate "
            f"{rate:.2g}); {kept}: lower train.learning_rate and start over"
        )
        raise DivergedError(message)

    def _evaluate(self, epoch: int) -> None:
        """Look at the averaged weights, where they are averaged, and go on with the others."""
        own = _floats(self.model) if self.average else {}
        if own:
            self.model.load_state_dict(self.average, strict=False)
        try:
            self._evaluate_weights(epoch)
        finally:
            if own:
                self.model.load_state_dict(own, strict=False)

    def _evaluate_weights(self, epoch: int) -> None:
        val_loss = None
        if self.hooks.validate is not None:
            val_loss = self._validate()
            if not math.isfinite(val_loss):
                self._diverged(learning_rate(self.config, self.position.step, self.n_steps, epoch))
            self._remember(val_loss)
        position = self.position
        train_loss = position.loss_sum / max(1, position.n_losses)
        position.loss_sum, position.n_losses = 0.0, 0
        self.loss_sum.zero_()
        rate = learning_rate(self.config, position.step - 1, self.n_steps, epoch)
        seconds = round(time.monotonic() - self.started, 3)
        if self.accelerator.is_main_process:
            event = Event(position.step, self.n_steps, epoch, train_loss, val_loss, rate, seconds)
            self.hooks.record(event)
        position.n_records += 1

    def _validate(self) -> float:
        self.model.eval()
        with torch.no_grad():
            return float(self.hooks.validate()) if self.hooks.validate else math.nan

    def _remember(self, val_loss: float) -> None:
        """Keep the weights of the best evaluation so far."""
        if val_loss < self.position.best:
            self.position.best, self.position.best_step = val_loss, self.position.step
            self.position.best_epochs = self.position.step // self.steps_per_epoch
            self.position.n_bad = 0
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        else:
            self.position.n_bad += 1

    def _may_save(self) -> bool:
        waited = time.monotonic() - self.saved
        return self.hooks.folder is not None and waited >= self.config.checkpoint_seconds

    def _save(self) -> None:
        folder = self.hooks.folder
        if self.accelerator.is_main_process and folder is not None:
            state = Checkpoint(
                replace(self.position), self.model.state_dict(), self.best,
                self.optimizer.state_dict(), torch.get_rng_state(), self.average,
            )  # fmt: skip
            checkpoints.save(folder, state)
        self.saved = time.monotonic()

    def _restore(self) -> None:
        found = checkpoints.newest(self.hooks.folder) if self.hooks.folder else None
        if found is None:
            return
        self.position, self.best = found.position, found.best
        for name, value in found.average.items():
            self.average[name].copy_(value)
        self.loss_sum.fill_(found.position.loss_sum)
        self.model.load_state_dict(found.model)
        self.optimizer.load_state_dict(found.optimizer)
        torch.set_rng_state(found.rng)


def _floats(model: nn.Module, *, copy: bool = True) -> dict[str, Tensor]:
    """Return the weights that are numbers with fractions, which can be averaged."""
    found = {k: v.detach() for k, v in model.state_dict().items() if v.is_floating_point()}
    return {k: v.clone() for k, v in found.items()} if copy else found


def computes_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(capabilities and capabilities())
