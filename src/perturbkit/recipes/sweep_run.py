"""Run a sweep: one process a run on this machine, or tasks of a Ray cluster; resumable."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from perturbkit.core.errors import MissingExtraError, PerturbkitError
from perturbkit.core.files import read_json, write_json
from perturbkit.recipes.sweep import Study, Task, experiment_of, grid_of, suggest, tasks_of

Row = dict[str, Any]
Told = Callable[[Row], None]


def run_task(task: Task, out: Path, metric: str) -> Row:
    """Fit, score on test and validation, and return one row of results; errors become its text.

    A run that is finished is not fitted again; one that was cut short goes on.
    """
    from perturbkit.recipes import verbs
    from perturbkit.recipes.judge import validation_score

    started = time.monotonic()
    folder = out / task.name
    done = folder / "sweep.json"
    row: Row = {"data": task.data, "screen": task.screen, "model": task.model,
                "settings": task.said, "digest": task.digest, "seed": task.seed}  # fmt: skip
    if done.exists():
        return {**row, **read_json(done)}
    try:
        run = verbs.fit(experiment_of(task), out=folder, resume=folder.exists())
        table = verbs.score(run).table.filter(model=str(run.config["model"]["kind"]))
        found: Row = {"validation": validation_score(run, metric)}
        found |= dict(zip(table["metric"], table["value"], strict=True))
    except PerturbkitError as error:
        return {**row, "error": str(error)}
    found["seconds"] = round(time.monotonic() - started, 1)
    write_json(done, {k: None if v != v else v for k, v in found.items()})  # noqa: PLR0124  (NaN)
    return {**row, **found}


def run_sweep(
    study: Study, out: Path, *, jobs: int = 1, ray: str | None = None, told: Told | None = None
) -> list[Row]:
    """Run every task of a study that has no result yet.

    Args:
        study: what is swept.
        out: folder of the runs.
        jobs: processes at a time on this machine.
        ray: address of a Ray cluster, or `local`, in place of processes.
        told: called with the row of each run.

    Raises:
        MissingExtraError: Ray or Optuna is not installed.
        ConfigError: wrong settings; nothing has run then.
    """
    pool = _ray_pool(ray, out, study.metric) if ray else _process_pool(jobs, out, study.metric)
    rows: list[Row] = []
    tell = told or (lambda _: None)
    if study.search == "optuna":
        rounds = _searched(study, out, max(1, jobs), rows)
    else:
        tasks = [
            task
            for data in range(len(study.data))
            for model in study.models
            for trial in grid_of(model)
            for task in tasks_of(study, data, trial)
        ]
        rounds = iter([list({task.name + str(task.data): task for task in tasks}.values())])
    with pool as submit:
        for tasks in rounds:
            for row in submit(tasks):
                rows.append(row)
                tell(row)
    return rows


class _process_pool:  # noqa: N801  (used as a function)
    """Processes on this machine that share its threads; one job runs in this process."""

    def __init__(self, jobs: int, out: Path, metric: str) -> None:
        self.jobs, self.out, self.metric = jobs, out, metric
        self.executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Callable[[list[Task]], Iterator[Row]]:
        if self.jobs > 1:
            threads = max(1, (os.cpu_count() or 1) // self.jobs)
            self.executor = ProcessPoolExecutor(
                self.jobs, get_context("spawn"), initializer=_limit, initargs=(threads,)
            )
        return self._submit

    def _submit(self, tasks: list[Task]) -> Iterator[Row]:
        if self.executor is None:
            for task in tasks:
                yield run_task(task, self.out, self.metric)
            return
        futures = [self.executor.submit(run_task, t, self.out, self.metric) for t in tasks]
        for future in as_completed(futures):
            yield future.result()

    def __exit__(self, *_: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)


def _limit(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


class _ray_pool:  # noqa: N801  (used as a function)
    """Tasks of a Ray cluster; its machines must share the folder of the sweep."""

    def __init__(self, address: str, out: Path, metric: str) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]  (an extra)
        except ImportError as error:
            message = (
                "--ray needs Ray, which is not installed; pip install 'perturbkit[ray]', or leave "
                "--ray out and use --jobs"
            )
            raise MissingExtraError(message) from error
        self.ray, self.address, self.out, self.metric = ray, address, out.resolve(), metric

    def __enter__(self) -> Callable[[list[Task]], Iterable[Row]]:
        address = None if self.address == "local" else self.address
        self.ray.init(
            address=address, include_dashboard=False, log_to_driver=False, configure_logging=False
        )
        return self._submit

    def _submit(self, tasks: list[Task]) -> Iterator[Row]:
        remote = self.ray.remote(run_task)
        waiting = [remote.remote(task, self.out, self.metric) for task in tasks]
        while waiting:
            done, waiting = self.ray.wait(waiting)
            yield from self.ray.get(done)

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()


def _searched(study: Study, out: Path, at_once: int, rows: list[Row]) -> Iterator[list[Task]]:
    """Yield rounds of tasks that Optuna asks for; `rows` has the results when it goes on.

    The journal beside the runs remembers every trial: a second call reads the runs that are
    there, so that its table is whole, and goes on with the rest.
    """
    optuna = _optuna()
    out.mkdir(parents=True, exist_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(out / "optuna.jsonl"))
    storage = optuna.storages.JournalStorage(backend)
    for data in range(len(study.data)):
        for index, model in enumerate(study.models):
            search = optuna.create_study(
                storage=storage, study_name=f"data_{data}_model_{index}", load_if_exists=True,
                direction=_direction(study.metric),
                sampler=optuna.samplers.TPESampler(seed=study.seeds[0], constant_liar=True),
            )  # fmt: skip
            told = [t for t in search.get_trials(deepcopy=False) if t.state.is_finished()]
            before = [optuna.trial.FixedTrial(t.params) for t in told if t.values]
            yield [run for t in before for run in tasks_of(study, data, suggest(t, model, ""))]
            left = study.n_trials - len(told)
            while left > 0:
                asked = [search.ask() for _ in range(min(at_once, left))]
                left -= len(asked)
                tasks = [tasks_of(study, data, suggest(t, model, "")) for t in asked]
                yield [task for group in tasks for task in group]
                for trial, group in zip(asked, tasks, strict=True):
                    _tell(optuna, search, trial, _mean_validation(rows, group))


def _tell(optuna: Any, search: Any, trial: Any, value: float | None) -> None:
    if value is None:
        search.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        search.tell(trial, value)


def _mean_validation(rows: list[Row], group: list[Task]) -> float | None:
    wanted = {(t.data, t.digest, t.seed) for t in group}
    found = [r.get("validation") for r in rows if (r["data"], r["digest"], r["seed"]) in wanted]
    known = [float(v) for v in found if v is not None]
    return sum(known) / len(known) if len(known) >= len(wanted) else None


def _direction(metric: str) -> str:
    from perturbkit.metrics import METRICS

    return "maximize" if METRICS[metric].better == "higher" else "minimize"


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        message = (
            "search = 'optuna' needs Optuna, which is not installed; pip install "
            "'perturbkit[sweep]', or use search = 'grid'"
        )
        raise MissingExtraError(message) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
