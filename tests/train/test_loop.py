"""The loop trains, resumes to the same bits from any step, stops early and names divergence."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from perturbkit.core.errors import DivergedError
from perturbkit.train import checkpoint as checkpoints
from perturbkit.train.config import TrainConfig
from perturbkit.train.loop import Hooks, Source, train
from perturbkit.train.schedule import learning_rate


class Line(nn.Module):
    """Least squares with dropout, so that the random state matters."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 1)
        with torch.no_grad():
            self.layer.weight.fill_(0.1)
            self.layer.bias.zero_()
        self.drop = nn.Dropout(0.3)

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return (self.layer(self.drop(x))[:, 0] - y).pow(2).mean()


@dataclass
class Batches(Source):
    n_batches: int = 5
    poison: float = 0.0

    def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator:
        for i in range(start, self.n_batches):
            rng = np.random.default_rng([epoch, i])
            x = torch.from_numpy(rng.normal(size=(16, 8)).astype(np.float32))
            yield x, x.sum(1) + self.poison


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches SIGKILL."""


def fit(folder: Path | None, config: TrainConfig, kill_at: int | None = None) -> Line:
    model = Line()
    source = Batches()
    epoch = source.epoch
    calls = 0

    def deadly(*args):
        nonlocal calls
        for batch in epoch(*args):
            if calls == kill_at:
                raise Killed
            calls += 1
            yield batch

    source.epoch = deadly
    validation = torch.ones(4, 8)

    def validate() -> float:
        return (model.layer(validation)[:, 0] - 8).pow(2).mean().item()

    train(model, source, config, np.random.default_rng(0), Hooks(validate, folder=folder))
    return model


CONFIG = TrainConfig(n_epochs=4, patience=0, learning_rate=0.05, checkpoint_seconds=0)


@pytest.mark.parametrize("kill_at", [0, 1, 4, 5, 7, 13, 19])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, kill_at: int) -> None:
    expected = fit(tmp_path / "a", CONFIG).state_dict()
    with pytest.raises(Killed):
        fit(tmp_path / "b", CONFIG, kill_at)
    resumed = fit(tmp_path / "b", CONFIG).state_dict()
    for name, value in expected.items():
        assert torch.equal(resumed[name], value), name


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, caplog) -> None:
    expected = fit(tmp_path / "a", CONFIG).state_dict()
    with pytest.raises(Killed):
        fit(tmp_path / "b", CONFIG, 9)
    newest = sorted((tmp_path / "b").glob("step_*"))[-1]
    (newest / "model.safetensors").write_bytes(b"half")
    resumed = fit(tmp_path / "b", CONFIG).state_dict()
    assert "is damaged" in caplog.text
    assert torch.equal(resumed["layer.weight"], expected["layer.weight"])


def test_only_the_last_two_checkpoints_stay(tmp_path: Path) -> None:
    fit(tmp_path, CONFIG)
    assert len(list(tmp_path.iterdir())) == checkpoints.N_KEPT


def test_the_loss_falls_and_the_global_generator_is_left_alone() -> None:
    model = Line()
    before = torch.get_rng_state()
    config = CONFIG.replace(n_epochs=30)
    train(model, Batches(), config, np.random.default_rng(0), Hooks())
    assert torch.equal(torch.get_rng_state(), before)
    # dropout of 0.3 on unit inputs is a ridge: the optimum is 1 / (1 + 0.3 / 0.7) = 0.7
    assert (model.layer.weight - 0.7).abs().max() < 0.15


def test_averaging_blocks_equals_one_larger_block() -> None:
    """What two processes do together is one process that accumulates two blocks."""
    config = CONFIG.replace(accumulate=5, n_epochs=1, schedule="constant", keep="last")
    model, other = Line(), Line()
    model.drop = other.drop = nn.Identity()
    train(model, Batches(), config, np.random.default_rng(0), Hooks())

    class Joined(Batches):
        def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator:
            parts = list(super().epoch(epoch, 0, device))
            yield torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    joined = Joined()
    joined.n_batches = 5
    single = Joined()
    single.epoch = lambda *_: joined.epoch(0, 0, torch.device("cpu"))
    single.n_batches = 1
    train(other, single, config.replace(accumulate=1), np.random.default_rng(0), Hooks())
    torch.testing.assert_close(model.layer.weight, other.layer.weight, rtol=1e-5, atol=1e-6)


def test_early_stopping_keeps_the_best_weights() -> None:
    model, seen = Line(), []
    losses = iter([5.0, 3.0, 1.0, 2.0, 2.0, 2.0, 2.0])

    def validate() -> float:
        seen.append(model.layer.weight.detach().clone())
        return next(losses)

    config = TrainConfig(n_epochs=50, patience=2, learning_rate=0.01)
    end = train(model, Batches(), config, np.random.default_rng(0), Hooks(validate))
    assert end.step == 4 * 5
    assert torch.equal(model.layer.weight, seen[2])


def test_divergence_is_a_named_error_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    model = Line()
    hooks = Hooks(folder=tmp_path)
    train(model, Batches(), CONFIG.replace(n_epochs=1), np.random.default_rng(0), hooks)
    kept = sorted(tmp_path.iterdir())
    position = checkpoints.newest(tmp_path)
    assert position is not None
    with pytest.raises(DivergedError, match=r"diverged by step 1 .*lower train\.learning_rate"):
        train(
            Line(), Batches(poison=float("nan")), CONFIG, np.random.default_rng(0),
            Hooks(folder=tmp_path / "new"),
        )  # fmt: skip
    assert sorted(p for p in tmp_path.iterdir() if p.name.startswith("step")) == kept


def test_schedules() -> None:
    cycle = TrainConfig(learning_rate=1.0, warmup=0.2)
    rates = [learning_rate(cycle, s, 100, 0) for s in range(100)]
    assert rates[0] == pytest.approx(1 / 20)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.02
    assert np.argmax(rates) in (19, 20)
    decay = TrainConfig(learning_rate=1.0, schedule="exponential", decay=0.5)
    assert learning_rate(decay, 70, 100, 3) == pytest.approx(0.125)
    assert learning_rate(TrainConfig(schedule="constant", learning_rate=0.2), 9, 10, 9) == 0.2


AVERAGED = CONFIG.replace(average=0.9)


def test_averaged_weights_are_the_running_mean_of_the_steps() -> None:
    model, source, seen = Line(), Batches(), [Line().layer.weight.detach().clone()]
    loss = model.loss

    def watched(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        seen.append(model.layer.weight.detach().clone())
        return loss(batch)

    model.loss = watched
    config = AVERAGED.replace(n_epochs=1, keep="last", schedule="constant")
    plain = Line()
    train(plain, Batches(), config.replace(average=0.0), np.random.default_rng(0), Hooks())
    train(model, source, config, np.random.default_rng(0), Hooks())
    mean = seen[0]
    for weight in [*seen[2:], plain.layer.weight.detach()]:
        mean = 0.9 * mean + 0.1 * weight
    torch.testing.assert_close(model.layer.weight.detach(), mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kill_at", [3, 13])
def test_averaged_weights_resume_to_the_same_bits(tmp_path: Path, kill_at: int) -> None:
    expected = fit(tmp_path / "a", AVERAGED).state_dict()
    with pytest.raises(Killed):
        fit(tmp_path / "b", AVERAGED, kill_at)
    resumed = fit(tmp_path / "b", AVERAGED).state_dict()
    for name, value in expected.items():
        assert torch.equal(resumed[name], value), name
    plain = fit(None, CONFIG).state_dict()
    assert not torch.equal(plain["layer.weight"], expected["layer.weight"])


def test_training_stops_when_it_is_told_to() -> None:
    stops = iter([False, True])
    hooks = Hooks(stop=lambda: next(stops))
    end = train(Line(), Batches(), CONFIG, np.random.default_rng(0), hooks)
    assert end.step == 2 * 5
