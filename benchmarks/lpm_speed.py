"""Training speed and error of the LPM against a plain loop over tuples, on made data.

Data: 2 contexts x 500 perturbations x 1,000 readouts (1.0 M tuples), low-rank signal plus tanh,
noise of standard deviation 0.15, generator seed 0. Split: as published, 15 % of the perturbations
of context 0 for validation and 15 % for the test, seen in context 1; split seed 13. Both loops use
the published K562 sizes (width 32, two hidden layers of 512) and run in this one process.

    python -m benchmarks.lpm_speed [--seconds 60] [--quick]
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.lpm import Lpm, LpmConfig
from perturbkit.train.config import TrainConfig
from perturbkit.train.loop import Hooks, train
from perturbkit.train.profiles import BlockSource

CONTEXTS = ("K562", "RPE1")


def make_data(n_perturbations: int, n_readouts: int, seed: int = 0) -> tuple[Responses, np.ndarray]:
    """Return the measured responses and the fold of each condition."""
    rng = np.random.default_rng(seed)
    rank = 8
    zp = rng.normal(size=(n_perturbations, rank))
    zp[0] = 0
    zr = rng.normal(size=(n_readouts, rank))
    base = rng.normal(size=(2, n_readouts)) * 0.3
    mix = [np.eye(rank) + 0.4 * rng.normal(size=(rank, rank)) for _ in CONTEXTS]
    x = np.stack(
        [
            base[c]
            + 0.25 * np.tanh(zp @ mix[c] @ zr.T / 2)
            + 0.15 * rng.normal(size=(n_perturbations, n_readouts))
            for c in range(2)
        ]
    ).astype(np.float32)
    names = ["control", *(f"GENE{i:05d}" for i in range(1, n_perturbations))]
    conditions = [Condition.parse(n, context=c) for c in CONTEXTS for n in names]
    readouts = Vocabulary([f"R{i:05d}" for i in range(n_readouts)], "readout")
    truth = Responses(
        x.reshape(1, -1, n_readouts), condition_table(conditions), readouts, "log1p_cp10k"
    )
    held = np.random.default_rng(13).permutation(np.arange(1, n_perturbations))
    n_held = round(0.15 * n_perturbations)
    fold = np.full(2 * n_perturbations, "train", dtype="<U5")
    fold[held[:n_held]], fold[held[n_held : 2 * n_held]] = "val", "test"
    return truth, fold


class PlainLpm(nn.Module):
    """The published network on materialised tuples: one gather of three embeddings a tuple."""

    def __init__(self, n_rows: tuple[int, int, int], width: int = 32, hidden: int = 512) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, width) for n in n_rows)
        self.mlp = nn.Sequential(
            nn.Linear(3 * width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        parts = [table(codes[:, i]) for i, table in enumerate(self.tables)]
        return self.mlp(torch.cat(parts, 1))[:, 0]


def plain_rate(truth: Responses, fold: np.ndarray, seconds: float) -> dict[str, float]:
    """Train the plain loop (batch 5,000, AdamW 2e-3) for some seconds; return tuples per second."""
    n_p, n_r = truth.values.shape[1] // 2, truth.values.shape[2]
    rows = np.flatnonzero(fold == "train")
    grid = np.stack(np.meshgrid(rows, np.arange(n_r), indexing="ij"), -1).reshape(-1, 2)
    codes = np.column_stack([grid[:, 0] // n_p, grid[:, 0] % n_p, grid[:, 1]])
    values = torch.from_numpy(truth.values[0][grid[:, 0], grid[:, 1]])
    codes_t = torch.from_numpy(codes)
    model = PlainLpm((2, n_p, n_r))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(codes)))
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        batch = order[done % len(order) :][:5000]
        optimizer.zero_grad()
        (model(codes_t[batch]) - values[batch]).pow(2).mean().backward()
        optimizer.step()
        done += len(batch)
    return {"tuples_per_s": done / (time.perf_counter() - started)}


class Clocked(BlockSource):
    """A source that notes the test error now and then, its time taken off the clock."""

    def attach(self, test: Responses, model: Lpm, every: float) -> None:
        self.test, self.model, self.every = test, model, every
        self.rows_of = test.select(~test.is_control)
        self.started = self.next = time.perf_counter()
        self.away, self.curve, self.n_tuples = 0.0, [], 0

    def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator[Any]:
        for block in super().epoch(epoch, start, device):
            yield block
            self.n_tuples += block.values.numel()
            now = time.perf_counter()
            if now - self.next >= self.every:
                self.curve.append((now - self.started - self.away, self.error()))
                self.model.train()
                self.away += time.perf_counter() - now
                self.next = time.perf_counter()

    def error(self) -> float:
        predicted = self.model.predict(self.rows_of.conditions).mean_cg
        return float(np.sqrt(np.mean((predicted - self.rows_of.mean_cg) ** 2)))


def ours(
    truth: Responses, fold: np.ndarray, config: LpmConfig, settings: TrainConfig, every: float
) -> dict[str, Any]:
    """Train the LPM; return rate, error over time and when the published error was reached."""
    measured = truth.select(fold == "train")
    started = time.perf_counter()
    model = Lpm.build(config, measured, None, named_rng(0, "build"))
    values = model.training_values(measured, named_rng(0, "targets"), held_out=False)
    built = time.perf_counter() - started
    source = Clocked(model.encode(measured.conditions), values, settings, 0)
    source.attach(truth.select(fold == "test"), model, every)
    first = source.error()
    source.started = time.perf_counter()
    train(model, source, settings, named_rng(0, "train"), Hooks())
    seconds = time.perf_counter() - source.started - source.away
    model.eval()
    curve = [(0.0, first), *source.curve, (seconds, source.error())]
    reached = next((t + built for t, e in curve if e <= 0.2550), None)
    return {
        "build_s": round(built, 3),
        "train_s": round(seconds, 2),
        "tuples_per_s": round(source.n_tuples / seconds),
        "rmse_start": round(first, 4),
        "rmse_final": round(curve[-1][1], 4),
        "seconds_to_0.2550_with_build": None if reached is None else round(reached, 2),
        "curve": [(round(t, 2), round(e, 4)) for t, e in curve],
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain-seconds", type=float, default=15.0)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--every", type=float, default=1.0)
    options = parser.parse_args(argv)
    every = options.every
    truth, fold = make_data(500, 1000)
    settings = TrainConfig(
        n_epochs=options.epochs, block_rows=32, block_readouts=256, learning_rate=4e-3,
        patience=0, precision="auto", keep="last",
    )  # fmt: skip
    sizes = {"embedding_dim": 32, "hidden_dim": 512, "n_layers": 2}
    result = {
        "threads": torch.get_num_threads(),
        "plain": plain_rate(truth, fold, options.plain_seconds),
        "network_alone": ours(truth, fold, LpmConfig(base="none", **sizes), settings, every),
        "over_the_base": ours(truth, fold, LpmConfig(base="auto", **sizes), settings, every),
    }
    result["peak_rss_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    result["ratio"] = result["network_alone"]["tuples_per_s"] / result["plain"]["tuples_per_s"]
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
