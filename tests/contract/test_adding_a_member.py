"""A new metric or baseline is one new file and one import line; shown in a copy of the package."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import perturbkit

METRIC = '''"""Largest absolute error of each condition."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair


def largest_error(pair: Pair) -> np.ndarray:
    """Largest absolute difference; 0 is perfect."""
    return np.nanmax(np.abs(pair.predicted_cg - pair.truth_cg), 1)


card = MetricCard(
    name="largest_error", summary="largest absolute error", source="definition",
    fn=largest_error, better="lower", best=0.0, bounds=(0.0, np.inf),
)
'''
METRIC_LINE = "from perturbkit.metrics.largest_error import card as largest_error\n"
USE_METRIC = """
import numpy as np, polars as pl
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.metrics import METRICS
from perturbkit.metrics.score import score
rows = [("control", "a"), ("x", "a"), ("y", "a")]
table = pl.DataFrame(rows, schema=["perturbation", "context"], orient="row")
values = np.random.default_rng(0).gamma(2.0, 1.0, (1, 3, 30))
truth = Responses(values, table, Vocabulary([f"g{i}" for i in range(30)]), "log1p_cp10k")
moved = Responses(values + 0.5, table, truth.readouts, "log1p_cp10k")
print(METRICS["largest_error"].summary)
found = score(truth, {"m": moved}, train=None, rng=np.random.default_rng(0)).table
print(round(found.filter(metric="largest_error")["value"].item(), 3))
"""


def copy_of_package(folder: Path) -> Path:
    source = Path(perturbkit.__file__).parent
    return Path(
        shutil.copytree(source, folder / "perturbkit", ignore=shutil.ignore_patterns("__pycache__"))
    )


def run(folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def add_import(init: Path, line: str) -> None:
    """Put one line above the one that collects the family."""
    head, catalogue, tail = init.read_text().rpartition(" = Catalog(")
    start = head.rfind("\n") + 1
    init.write_text(head[:start] + line + head[start:] + catalogue + tail)


def test_a_metric_is_one_file_and_one_line(tmp_path: Path) -> None:
    package = copy_of_package(tmp_path)
    (package / "metrics" / "largest_error.py").write_text(METRIC)
    add_import(package / "metrics" / "__init__.py", METRIC_LINE)
    assert run(tmp_path, USE_METRIC).split("\n")[:2] == ["largest absolute error", "0.5"]


BASELINE = '''"""A baseline that predicts the median change of the training perturbations."""

from typing import Self

import numpy as np
import polars as pl

from perturbkit.core.config import Config
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.models.card import ModelCard, State
from perturbkit.models.deltas import Effects, Frame


class MedianDeltaConfig(Config):
    """No settings."""


class MedianDelta:
    """Every perturbation changes what the median one changes."""

    def __init__(self, frame: Frame, delta_g: np.ndarray) -> None:
        self.frame, self.delta_g = frame, delta_g

    @classmethod
    def fit(cls, config: MedianDeltaConfig, train: Responses, features: Features | None,
            rng: np.random.Generator) -> Self:
        """Take the median over training conditions."""
        delta = np.nanmedian(train.delta_cg()[~train.is_control], 0)
        return cls(Effects.of(train).frame, delta.astype(np.float32))

    def predict(self, conditions: pl.DataFrame) -> Responses:
        """Predict the same change everywhere."""
        asked = self.frame.ask(conditions)
        _, n_missing = asked.parts(whole=True)
        change = np.repeat(self.delta_g[None], len(asked), 0)
        return asked.answer(change, asked.status(n_missing == 0, "prior"))

    def state(self) -> State:
        """Return names, controls and the change."""
        arrays, plain = self.frame.state()
        return arrays | {"median": self.delta_g}, plain

    @classmethod
    def restore(cls, config: MedianDeltaConfig, state: State) -> Self:
        """Rebuild from `state`."""
        return cls(Frame.restore(state), state[0]["median"])


card = ModelCard(
    name="median_delta", summary="median change", source="definition", config=MedianDeltaConfig,
    model=MedianDelta, baseline=True, predicts=frozenset({"perturbations"}),
)
'''
BASELINE_LINE = "from perturbkit.models.median_delta import card as median_delta\n"
TASK = """
name = "new"
summary = "the new baseline among the others"
models = ["median_delta", "no_change"]
metrics = ["rmse"]
n_bootstrap = 100
split = { kind = "unseen_perturbation" }
[screen]
source = "simulated"
[screen.options]
n_genes = 60
n_contexts = 1
n_perturbations = 12
n_cells = 20
n_control_cells = 60
"""
USE_BASELINE = """
from perturbkit.models import MODELS
from perturbkit.recipes.benchmark import benchmark
print(MODELS["median_delta"].summary)
table = benchmark(["new.toml"], "out")
print(table.filter(model="median_delta")["n"].item() > 0)
"""


@pytest.mark.slow
def test_a_baseline_is_one_file_and_one_line(tmp_path: Path) -> None:
    """It is then fitted, scored and ranked without another line anywhere."""
    package = copy_of_package(tmp_path)
    (package / "models" / "median_delta.py").write_text(BASELINE)
    add_import(package / "models" / "__init__.py", BASELINE_LINE)
    (tmp_path / "new.toml").write_text(TASK)
    assert run(tmp_path, USE_BASELINE).split() == ["median", "change", "True"]
