"""A scored run on a small simulated screen, written as the verbs write it, whole or in part."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perturbkit.core.files import write_json
from perturbkit.core.responses import Responses
from perturbkit.core.run import Run
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.simulate import Simulated, preset, simulate
from perturbkit.metrics.score import score

METRICS = ("pearson_delta", "rmse")


@dataclass(frozen=True)
class Maker:
    """Writes run folders."""

    simulated: Simulated
    folder: Path

    def truth(self) -> Responses:
        """Return the responses with noisy halves, as if measured."""
        rng = np.random.default_rng(0)
        true = self.simulated.responses
        shape = (2, len(true.keys), len(true.readouts))
        halves = true.values + 0.1 * rng.standard_normal(shape).astype(np.float32)
        return replace(true, values=halves.mean(0, keepdims=True), halves=halves)

    def run(
        self,
        name: str = "run",
        *,
        noise: float = 0.1,
        baseline_noise: float = 0.4,
        rename: Callable[[Responses], Responses] | None = None,
        n_refused: int = 0,
        parts: frozenset[str] = frozenset({"truth", "predictions", "log", "scores", "model"}),
    ) -> Run:
        """Write a run whose predictions are the truth with noise of a given size."""
        config = {"seed": 3, "n_members": 2, "screen": {"source": "simulated"},
                  "split": {"kind": "unseen_pair"}, "model": {"kind": "lpm", "width": 8},
                  "train": {}, "score": {"metrics": list(METRICS)}}  # fmt: skip
        run = Run.create(self.folder / name, config, resume=False, force=False)
        write_json(run.path / "data.json", self.simulated.screen.describe())
        truth = self.truth() if rename is None else rename(self.truth())
        test = (truth.conditions["context"] == "line2").to_numpy() & ~truth.is_control
        folds = ["test" if t else "train" for t in test]
        pl.DataFrame({"key": truth.keys, "fold": folds}).write_parquet(run.path / "split.parquet")
        held_out = truth.select(test)
        rng = np.random.default_rng(1)
        if "truth" in parts:
            truth.save(run.path / "truth.parquet")
        models = {"lpm": noisy(held_out, noise, rng), "no_change": unchanged(truth, held_out),
                  "mean_delta": noisy(held_out, baseline_noise, rng)}  # fmt: skip
        models["lpm"] = refusing(models["lpm"], n_refused)
        if "predictions" in parts:
            for model, predicted in models.items():
                path = "responses" if model == "lpm" else f"baselines/{model}"
                predicted.save(run.path / f"{path}.parquet")
        if "log" in parts:
            for member in range(2):
                for step in range(10):
                    loss = float(np.exp(-step / 3) + 0.1 + 0.02 * member)
                    run.log({"member": member, "step": 10 * step, "train_loss": loss,
                             "val_loss": loss + 0.05 if step % 2 else None, "lr": 0.001,
                             "seconds": 0.5 * step})  # fmt: skip
        if "scores" in parts:
            kept = truth.select(test | truth.is_control)
            found = score(kept, models, train=truth.select(~test), metrics=METRICS, rng=rng)
            found.table.write_parquet(run.path / "scores.parquet")
            found.conditions.write_parquet(run.path / "conditions.parquet")
        if "model" in parts:
            write_json(run.path / "model.json", {})
        return run


def noisy(held_out: Responses, size: float, rng: np.random.Generator) -> Responses:
    values = held_out.values + size * rng.standard_normal(held_out.values.shape)
    status = held_out.conditions.with_columns(status=pl.lit("seen"))
    return Responses(values, status, held_out.readouts, held_out.unit)


def refusing(predicted: Responses, n: int) -> Responses:
    values = predicted.values.copy()
    values[:, :n] = np.nan
    status = ["refused"] * n + predicted.conditions["status"].to_list()[n:]
    table = predicted.conditions.with_columns(status=pl.Series(status))
    return Responses(values, table, predicted.readouts, predicted.unit)


def unchanged(truth: Responses, held_out: Responses) -> Responses:
    status = held_out.conditions.with_columns(status=pl.lit("prior"))
    values = truth.control_of(held_out.contexts)[None]
    return Responses(values, status, held_out.readouts, held_out.unit)


@pytest.fixture
def renamed() -> Callable[[Responses, str, str, str], Responses]:
    """Return a function that renames one perturbation and the first readout."""

    def rename(responses: Responses, old: str, new: str, readout: str) -> Responses:
        table = responses.conditions.with_columns(pl.col("perturbation").replace({old: new}))
        readouts = Vocabulary([readout, *responses.readouts[1:]], "readout")
        return replace(responses, conditions=table, readouts=readouts)

    return rename


@pytest.fixture(scope="session")
def simulated() -> Simulated:
    return simulate(preset("tiny"), np.random.default_rng(0))


@pytest.fixture
def maker(simulated: Simulated, tmp_path: Path) -> Maker:
    return Maker(simulated, tmp_path)
