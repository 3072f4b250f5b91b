"""Fit the members of an ensemble: batches in blocks for models of profiles, validation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import torch

from perturbkit.core.errors import PerturbkitError, SchemaError
from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.data.sampler import BlockSampler
from perturbkit.models.block import Block
from perturbkit.models.card import ModelCard, WeighedModel
from perturbkit.models.cells import CellData
from perturbkit.train.cells import build_of_cells
from perturbkit.train.config import TrainConfig
from perturbkit.train.curves import Curves, Recorder
from perturbkit.train.loop import Event, Hooks, train

Watch = Callable[[int, int, int], None]
"""called with (member, step, n_steps)"""
Judge = Callable[[Responses, Responses], None]
"""told what was measured of conditions and what a model said that had not seen them"""
Draw = Callable[[str], np.random.Generator]
"""gives the generator of a purpose"""


@dataclass(frozen=True, eq=False)
class FitData:
    """What models are fitted on."""

    train: Responses
    """training conditions, controls included"""
    val: Responses | None
    """validation conditions, for early stopping; None where there are none"""
    features: Features | None
    """features of genes or compounds, where there are any"""
    cells: CellData | None = None
    """the single cells, for models of cells; None for a screen of profiles"""


class BlockSource:
    """Blocks of encoded conditions by readouts, kept on the device."""

    def __init__(
        self, rows: dict[str, torch.Tensor], values_cg: np.ndarray, config: TrainConfig, seed: int
    ) -> None:
        # conditions without a single target value would only cost time
        kept = ~np.isnan(values_cg).all(1)
        self.rows = {k: v[torch.from_numpy(kept)] for k, v in rows.items()}
        self.values = torch.from_numpy(values_cg[kept])
        n_rows, n_columns = self.values.shape
        self.sampler = BlockSampler(
            n_rows, n_columns, config.block_rows, config.block_readouts, seed
        )
        self.n_batches = self.sampler.n_blocks

    def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator[Block]:
        """Yield the blocks of an epoch from block `start` on."""
        self.rows = {k: v.to(device) for k, v in self.rows.items()}
        self.values = self.values.to(device)
        for rows, columns in self.sampler.epoch(epoch, start):
            r = torch.from_numpy(rows).to(device)
            q = torch.from_numpy(columns).to(device)
            yield Block({k: v[r] for k, v in self.rows.items()}, q, self.values[r[:, None], q])


@dataclass(frozen=True)
class MemberPlan:
    """How one member of an ensemble is fitted."""

    card: ModelCard
    config: Any
    train: TrainConfig
    seed: int
    member: int


def fit_member(
    plan: MemberPlan,
    data: FitData,
    run: Run | None,
    watch: Watch | None,
    judge: Judge | None = None,
) -> Any:
    """Fit one member, going on from its checkpoint where there is one.

    Args:
        plan: model, settings, seed.
        data: what to fit on.
        run: where checkpoints and records go; None writes nothing.
        watch: told of the progress.
        judge: told of the conditions that a model kept from itself before it was fitted on all.

    Returns:
        The fitted model.
    """
    rng = partial(named_rng, plan.seed, "member", plan.member)
    if not plan.card.trained:
        known = _cells(plan, data) if plan.card.level == "cells" else data.train
        return plan.card.model.fit(plan.config, known, data.features, rng("fit"))
    hooks = Hooks()
    if run is not None:
        hooks.folder = run.path / "checkpoints" / f"member_{plan.member}"
    if watch is not None:
        hooks.watch = partial(watch, plan.member)
    if plan.card.level == "cells":
        return _fit_of_cells(plan, data, run, rng, hooks)
    if data.val is None and plan.train.patience:
        # all members of an ensemble keep the same
        kept = _tenth(data.train, named_rng(plan.seed, "member", 0, "validation"))
        if kept.size:
            part = _without(data, kept)
            first, n_epochs = _fit_once(plan, part, run, rng, hooks)
            if judge is not None and part.val is not None:
                judge(part.val, first.predict(part.val.conditions))
            return _fit_again(plan, data, first, n_epochs, rng, hooks)
    return _fit_once(plan, data, run, rng, hooks)[0]


def _tenth(train: Responses, rng: np.random.Generator) -> np.ndarray:
    """Return a tenth of the perturbed conditions, to stop on where none are for validation."""
    rows = np.flatnonzero(~train.is_control)
    return np.sort(rng.permutation(rows)[: len(rows) // 10])


def _without(data: FitData, kept: np.ndarray) -> FitData:
    """Return the data with some of the training conditions for validation."""
    rest = np.setdiff1d(np.arange(len(data.train.keys)), kept)
    return replace(data, train=data.train.select(rest), val=data.train.select(kept))


def _curves(data: FitData, model: Any, patience: int) -> Curves | None:
    """Return what is scored on the way of models of cells: conditions that they can answer."""
    val = _answerable(model, data.val)
    return None if val is None else Curves(data.train, val, patience)


def _fit_of_cells(plan: MemberPlan, data: FitData, run: Run | None, rng: Draw, hooks: Hooks) -> Any:
    model, source, hooks.validate = build_of_cells(
        plan.card, plan.config, _cells(plan, data), data.features, plan.train, rng
    )
    _record(plan, run, model, hooks, _curves(data, model, plan.train.patience))
    train(model, source, plan.train, rng("train"), hooks)
    return model.to("cpu").eval()


def _record(
    plan: MemberPlan, run: Run | None, model: Any, hooks: Hooks, curves: Curves | None = None
) -> None:
    if run is not None:
        recorder = Recorder(run, plan.member, model, curves)
        hooks.record, hooks.stop = recorder.record, recorder.stop


def _fit_once(
    plan: MemberPlan, data: FitData, run: Run | None, rng: Draw, hooks: Hooks
) -> tuple[Any, int]:
    """Build and train a model of profiles; validation conditions stop and weigh it.

    Returns:
        The model, and the number of epochs after which it was best.
    """
    model: Any = plan.card.model.build(plan.config, data.train, data.features, rng("build"))
    val = _answerable(model, data.val)
    weighs: bool = isinstance(model, WeighedModel)
    to_weigh = val if weighs else None
    if to_weigh is not None:
        model.weigh_base(to_weigh)
    source = _source(plan, model, data.train, rng)
    if val is not None:
        values_cg = model.training_values(val, rng("validation"), held_out=True)
        hooks.validate = _loss_on(model, val.conditions, values_cg)
    _record(plan, run, model, hooks)
    ended = train(model, source, plan.train, rng("train"), hooks)
    model = model.to("cpu").eval()
    if to_weigh is not None:
        model.weigh_network(to_weigh)
    judged = val is not None and plan.train.keep == "best"
    return model, ended.best_epochs if judged else plan.train.n_epochs


def _fit_again(
    plan: MemberPlan, data: FitData, first: Any, n_epochs: int, rng: Draw, hooks: Hooks
) -> Any:
    """Fit on all of the data, as long as was good for a model that saw a part."""
    model: Any
    if isinstance(first, WeighedModel):
        model = first.again(data.train, data.features, rng("again"))
    else:
        model = plan.card.model.build(plan.config, data.train, data.features, rng("again"))
    source = _source(plan, model, data.train, rng)
    epochs = _Epochs(n_epochs)
    folder = hooks.folder / "again" if hooks.folder is not None else None
    if n_epochs and getattr(model, "share", 1.0):
        hooks = Hooks(record=epochs.record, watch=hooks.watch, stop=epochs.stop, folder=folder)
        train(model, source, plan.train, rng("train"), hooks)
    return model.to("cpu").eval()


def _source(plan: MemberPlan, model: Any, measured: Responses, rng: Draw) -> BlockSource:
    """Return the training conditions in blocks."""
    values = model.training_values(measured, rng("targets"), held_out=False)
    seed = int(rng("order").integers(2**31))
    return BlockSource(model.encode(measured.conditions), values, plan.train, seed)


@dataclass
class _Epochs:
    """Ends a training after a number of epochs, on the schedule of a longer one."""

    most: int
    done: int = 0

    def record(self, event: Event) -> None:
        self.done = event.epoch + 1

    def stop(self) -> bool:
        return self.done >= self.most


def _loss_on(model: Any, conditions: pl.DataFrame, values_cg: np.ndarray) -> Callable[[], float]:
    return lambda: float(np.nanmean((model.residual(conditions) - values_cg) ** 2))


def _answerable(model: Any, val: Responses | None) -> Responses | None:
    """Return the validation conditions that the model can answer, or None."""
    if val is None:
        return None
    chosen = val.select((model.statuses(val.conditions) != "refused") & ~val.is_control)
    return chosen if chosen.keys else None


def _cells(plan: MemberPlan, data: FitData) -> CellData:
    if data.cells is None:
        message = (
            f"{plan.card.name} learns from single cells and the screen holds profiles; open the "
            "file of the cells, or take a model of profiles (`perturbkit list models`)"
        )
        raise SchemaError(message)
    return data.cells


def fit_members(
    plans: list[MemberPlan],
    data: FitData,
    run: Run | None,
    watch: Watch | None = None,
    judge: Judge | None = None,
) -> list[Any]:
    """Fit the members of an ensemble, one after the other.

    Raises:
        DivergedError: a member's training left the finite numbers.
    """
    members = []
    for plan in plans:
        try:
            members.append(fit_member(plan, data, run, watch, judge))
        except PerturbkitError as error:
            error.add_note(f"while fitting member {plan.member} of {len(plans)}")
            raise
    return members
