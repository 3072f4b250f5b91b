"""Sweeps: data x model x seed as a grid or a search, each run in a folder named by its settings.

A study is a TOML file::

    metric = "pearson_delta"        # what chooses; on the validation conditions
    seeds = [0, 1, 2]
    search = "grid"                 # or "optuna", with n_trials
    [base]                          # settings of every run, as `perturbkit fit` takes them
    [[data]]
    screen.source = "simulated"
    [[models]]
    kind = "lpm"                    # a name of the catalogue, or my_model.py
    hidden_dim = [32, 64]           # a list is an axis
    train.learning_rate = { low = 1e-3, high = 3e-2, log = true }   # a range, for optuna
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from perturbkit.core.config import Config, merge, read_toml
from perturbkit.core.errors import ConfigError
from perturbkit.models.from_file import model_card
from perturbkit.recipes.experiment import Experiment
from perturbkit.recipes.studies import resolve

Trial = dict[str, Any]
"""settings of a model, axes chosen"""


class Study(Config):
    """What is swept."""

    metric: str = "pearson_delta"
    """the metric that chooses the best settings, on the validation conditions"""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    search: Literal["grid", "optuna"] = "grid"
    n_trials: int = Field(default=20, ge=1)
    """settings tried for each model and data set under `optuna`"""
    base: dict[str, Any] = Field(default_factory=dict)
    """settings of every run"""
    data: tuple[dict[str, Any], ...] = ({},)
    """settings that say the data: `screen`, `split`, `features`"""
    models: tuple[dict[str, Any], ...] = Field(min_length=1)
    """settings of each model, `kind` among them; `train` and `n_members` may stand here too"""


@dataclass(frozen=True)
class Task:
    """One run of a sweep."""

    data: int
    """which of the study's data sets"""
    model: str
    """catalogue name, or stem of a user's file"""
    digest: str
    """of all settings but the seed"""
    seed: int
    settings: dict[str, Any]
    """of the whole experiment"""
    said: str = ""
    """what the study sets of the model, for people"""

    @property
    def screen(self) -> str:
        """Name of the screen, or of its file."""
        source = str(self.settings["screen"]["source"])
        return Path(source).name or source

    @property
    def name(self) -> str:
        """Folder of the run below that of the sweep."""
        return f"{self.model}_{self.digest}/seed_{self.seed}"


def read_study(path: Path) -> Study:
    """Read and check a study; paths of models and screens are relative to its file.

    Raises:
        FileError: missing or not TOML.
        ConfigError: unknown or wrong settings, an axis that `grid` cannot walk.
        UnknownNameError: no such model or metric.
    """
    from perturbkit.metrics import METRICS

    study = Study.parse(read_toml(path), str(path))
    _ = METRICS[study.metric]
    models, data = list(study.models), list(study.data)
    for i, model in enumerate(models):
        kind = str(model.get("kind", ""))
        if not kind:
            message = f"{path}: models.{i} has no kind; name a model, or a file that ends in .py"
            raise ConfigError(message)
        if kind.endswith(".py"):
            kind = str((path.parent / kind).resolve())
        _ = model_card(kind)
        models[i] = {**model, "kind": kind}
        if study.search == "grid" and any(_is_range(v) for _, v in _leaves(models[i])):
            message = f"{path}: models.{i} holds a range; use a list, or search = 'optuna'"
            raise ConfigError(message)
    for i, one in enumerate(data):
        source = one.get("screen", {}).get("source")
        if source and (path.parent / source).exists():
            found = str((path.parent / source).resolve())
            data[i] = merge(one, {"screen": {"source": found}})
    return study.replace(models=models, data=data)


def grid_of(model: dict[str, Any]) -> Iterator[Trial]:
    """Yield the settings of every point of a model's grid; lists are axes."""
    axes = [(path, value) for path, value in _leaves(model) if isinstance(value, list)]
    for point in itertools.product(*(value for _, value in axes)):
        yield _with(model, {path: v for (path, _), v in zip(axes, point, strict=True)})


def tasks_of(study: Study, data: int, trial: Trial) -> list[Task]:
    """Return the runs of one point, a seed each.

    Raises:
        ConfigError: a setting that the model or the training does not have.
    """
    model = {k: v for k, v in trial.items() if k not in ("train", "n_members")}
    beside = {k: trial[k] for k in ("train", "n_members") if k in trial}
    values = merge(merge(study.base, study.data[data]), {"model": model, **beside})
    experiment = resolve(values, None, ())
    plain = experiment.plain()
    plain.pop("seed")
    text = json.dumps(plain, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    name = Path(str(model["kind"])).stem
    said = ", ".join(f"{path}={value}" for path, value in _leaves(trial) if path != "kind")
    return [
        Task(data, name, digest, seed, experiment.replace(seed=seed).plain(), said)
        for seed in study.seeds
    ]


def suggest(trial: Any, model: dict[str, Any], prefix: str) -> Trial:
    """Let an Optuna trial choose on every axis of a model: lists, and ranges low to high."""
    chosen = {}
    for path, value in _leaves(model):
        name = f"{prefix}{path}"
        if isinstance(value, list):
            chosen[path] = trial.suggest_categorical(name, value)
        elif _is_range(value):
            whole = isinstance(value["low"], int) and isinstance(value["high"], int)
            draw = trial.suggest_int if whole else trial.suggest_float
            chosen[path] = draw(name, value["low"], value["high"], log=value.get("log", False))
    return _with(model, chosen)


def _is_range(value: Any) -> bool:
    return isinstance(value, dict) and {"low", "high"} <= set(value) <= {"low", "high", "log"}


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and not _is_range(value):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _with(values: dict[str, Any], chosen: dict[str, Any]) -> Trial:
    changed = json.loads(json.dumps(values))
    for path, value in chosen.items():
        *folders, last = path.split(".")
        inner = changed
        for folder in folders:
            inner = inner[folder]
        inner[last] = value
    return changed


def experiment_of(task: Task) -> Experiment:
    """Return the experiment of a task."""
    return Experiment.parse(task.settings).checked()
