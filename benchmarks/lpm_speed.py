"""Training speed and error of the LPM against a plain loop over tuples, on made data.

Data: 2 contexts x 500 perturbations x 1,000 readouts (1.0 M tuples), low-rank signal plus tanh,
noise of standard deviation 0.15, generator seed 0. Split: as published, 15 % of the perturbations
of context 0 for validation and 15 % for the test, seen in context 1; split seed 13. In one process:
a plain loop over tuples and our blocks with the published K562 sizes (width 32, two hidden layers
of 512), our default network alone, and over its closed-form base. Settings were chosen with
`--fold val`.

    python -m benchmarks.lpm_speed [--parts plain network_alone]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.lpm import Lpm, LpmConfig, card
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
    started, done, cpu = time.perf_counter(), 0, time.process_time()
    while time.process_time() - cpu < seconds:
        batch = order[done % len(order) :][:5000]
        optimizer.zero_grad()
        (model(codes_t[batch]) - values[batch]).pow(2).mean().backward()
        optimizer.step()
        done += len(batch)
    return {
        "tuples_per_s": round(done / (time.perf_counter() - started)),
        "tuples_per_cpu_s": round(done / (time.process_time() - cpu)),
    }


class Clocked(BlockSource):
    """A source that notes the test error now and then, its time taken off the clock."""

    def attach(self, test: Responses, model: Lpm, every: float) -> None:
        self.test, self.model, self.every = test, model, every
        self.rows_of = test.select(~test.is_control)
        self.started = self.next = time.perf_counter()
        self.cpu = self.cpu_next = time.process_time()
        self.away, self.cpu_away, self.curve, self.n_tuples = 0.0, 0.0, [], 0

    def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator[Any]:
        for block in super().epoch(epoch, start, device):
            yield block
            self.n_tuples += block.values.numel()
            now, cpu = time.perf_counter(), time.process_time()
            if cpu - self.cpu_next >= self.every:
                at = (now - self.started - self.away, cpu - self.cpu - self.cpu_away)
                self.curve.append((*at, self.error()))
                self.model.train()
                self.away += time.perf_counter() - now
                self.cpu_away += time.process_time() - cpu
                self.cpu_next = time.process_time()

    def error(self) -> float:
        predicted = self.model.predict(self.rows_of.conditions).mean_cg
        return float(np.sqrt(np.mean((predicted - self.rows_of.mean_cg) ** 2)))


def ours(
    truth: Responses, fold: np.ndarray, config: LpmConfig, settings: TrainConfig, every: float
) -> dict[str, Any]:
    """Train the LPM; return rate, error over time and when the published error was reached."""
    measured = truth.select(fold == "train")
    started, cpu_started = time.perf_counter(), time.process_time()
    model = Lpm.build(config, measured, None, named_rng(0, "build"))
    values = model.training_values(measured, named_rng(0, "targets"), held_out=False)
    built, cpu_built = time.perf_counter() - started, time.process_time() - cpu_started
    source = Clocked(model.encode(measured.conditions), values, settings, 0)
    source.attach(truth.select(fold == "test"), model, every)
    first = source.error()
    source.started, source.cpu = time.perf_counter(), time.process_time()
    train(model, source, settings, named_rng(0, "train"), Hooks())
    seconds = time.perf_counter() - source.started - source.away
    cpu = time.process_time() - source.cpu - source.cpu_away
    model.eval()
    curve = [(0.0, 0.0, first), *source.curve, (seconds, cpu, source.error())]
    reached = next(((w + built, c + cpu_built) for w, c, e in curve if e <= 0.2550), None)
    return {
        "build_s": round(built, 2), "build_cpu_s": round(cpu_built, 2),
        "train_s": round(seconds, 2), "train_cpu_s": round(cpu, 2),
        "tuples_per_s": round(source.n_tuples / seconds),
        "tuples_per_cpu_s": round(source.n_tuples / cpu),
        "rmse_start": round(first, 4),
        "rmse_final": round(curve[-1][2], 4),
        "rmse_best": round(min(e for *_, e in curve), 4),
        "wall_and_cpu_s_to_0.2550_with_build": reached and [round(t, 2) for t in reached],
        "curve_wall_cpu_rmse": [(round(w, 2), round(c, 2), round(e, 4)) for w, c, e in curve],
    }  # fmt: skip


PUBLISHED = {
    "hidden_dim": 512, "n_layers": 2, "products": 0, "row_hidden": 0, "warm_start": False,
}  # fmt: skip


def settings_for(n_epochs: int, **changes: Any) -> TrainConfig:
    return TrainConfig(
        **{**card.train, "n_epochs": n_epochs, "patience": 0, "keep": "last", **changes}
    )


def memory(n_perturbations: int = 1000, n_readouts: int = 5000) -> dict[str, Any]:
    """Train one epoch on 10 M tuples in a process of its own; return its peak memory."""
    code = (
        "import json; from benchmarks import lpm_speed as b; "
        f"print(json.dumps(b.one_epoch({n_perturbations}, {n_readouts})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def one_epoch(n_perturbations: int, n_readouts: int) -> dict[str, Any]:
    truth, fold = make_data(n_perturbations, n_readouts)
    result = ours(truth, fold, LpmConfig(base="none"), settings_for(1), 1e9)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"n_tuples": int(truth.values.size), "tuples_per_cpu_s": result["tuples_per_cpu_s"],
            "peak_rss_gb": round(peak, 3)}  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain-seconds", type=float, default=10.0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--published-epochs", type=int, default=3)
    parser.add_argument("--every", type=float, default=2.0)
    parser.add_argument("--fold", choices=["val", "test"], default="test")
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    options = parser.parse_args(argv)
    truth, fold = make_data(500, 1000)
    if options.fold == "val":  # settings are chosen on these
        fold = np.where(fold == "val", "test", np.where(fold == "test", "val", fold))
    result: dict[str, Any] = {"threads": torch.get_num_threads()}
    for part in options.parts:
        result[part] = PARTS[part](truth, fold, options)
    if "plain" in result:
        plain = result["plain"]["tuples_per_cpu_s"]
        result["ratio"] = {
            k: round(v["tuples_per_cpu_s"] / plain, 1) for k, v in result.items()
            if isinstance(v, dict) and "tuples_per_cpu_s" in v
        }  # fmt: skip
    print(json.dumps(result))
    return result


PARTS: dict[str, Callable[[Responses, np.ndarray, Any], dict[str, Any]]] = {
    "plain": lambda t, f, o: plain_rate(t, f, o.plain_seconds),
    "published_sizes": lambda t, f, o: ours(
        t, f, LpmConfig(base="none", **PUBLISHED), settings_for(o.published_epochs, **SMALLER), 1e9
    ),
    "network_alone": lambda t, f, o: ours(
        t, f, LpmConfig(base="none"), settings_for(o.epochs), o.every
    ),
    "over_the_base": lambda t, f, o: ours(
        t, f, LpmConfig(base="auto"), settings_for(o.epochs // 4), o.every
    ),
    "memory": lambda _t, _f, _o: memory(),
}
SMALLER = {"learning_rate": 4e-3, "weight_decay": 0.05}


if __name__ == "__main__":
    main()
