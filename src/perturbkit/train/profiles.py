"""Fit the members of an ensemble: batches in blocks for models of profiles, validation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from perturbkit.models.card import ModelCard
from perturbkit.models.cells import CellData
from perturbkit.train.cells import build_of_cells
from perturbkit.train.config import TrainConfig
from perturbkit.train.curves import Curves, Recorder
from perturbkit.train.loop import Hooks, train

Watch = Callable[[int, int, int], None]
"""called with (member, step, n_steps)"""


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


def fit_member(plan: MemberPlan, data: FitData, run: Run | None, watch: Watch | None) -> Any:
    """Fit one member, going on from its checkpoint where there is one.

    Args:
        plan: model, settings, seed.
        data: what to fit on.
        run: where checkpoints and records go; None writes nothing.
        watch: told of the progress.

    Returns:
        The fitted model.
    """
    rng = partial(named_rng, plan.seed, "member", plan.member)
    if not plan.card.trained:
        known = _cells(plan, data) if plan.card.level == "cells" else data.train
        return plan.card.model.fit(plan.config, known, data.features, rng("fit"))
    if plan.card.level == "cells":
        model, source, validate = build_of_cells(
            plan.card, plan.config, _cells(plan, data), data.features, plan.train, rng
        )
    else:
        model, source, validate = _build(plan, data, rng)
    hooks = Hooks(validate=validate)
    if run is not None:
        hooks.folder = run.path / "checkpoints" / f"member_{plan.member}"
        curves = _curves(plan, data, model)
        recorder = Recorder(run, plan.member, model, curves)
        hooks.record, hooks.stop = recorder.record, recorder.stop
    if watch is not None:
        hooks.watch = partial(watch, plan.member)
    train(model, source, plan.train, rng("train"), hooks)
    return model.to("cpu").eval()


def _curves(plan: MemberPlan, data: FitData, model: Any) -> Curves | None:
    """Return what is scored on the way: of models of cells, conditions that they can answer."""
    if plan.card.level != "cells" or data.val is None:
        return None
    chosen = data.val.select(
        (model.statuses(data.val.conditions) != "refused") & ~data.val.is_control
    )
    return Curves(data.train, chosen, plan.train.patience) if chosen.keys else None


def _build(
    plan: MemberPlan, data: FitData, rng: Callable[[str], np.random.Generator]
) -> tuple[Any, BlockSource, Callable[[], float] | None]:
    """Return an untrained model of profiles, its batches, and its validation loss."""
    model = plan.card.model.build(plan.config, data.train, data.features, rng("build"))
    values = model.training_values(data.train, rng("targets"), held_out=False)
    validate = _validation(model, data.val, rng("validation"))
    if validate is None and plan.train.patience:
        kept = _withheld(values, rng("validation"))
        if kept.size:
            validate = _loss_on(model, data.train.conditions[kept], values[kept].copy())
            values[kept] = np.nan
    seed = int(rng("order").integers(2**31))
    source = BlockSource(model.encode(data.train.conditions), values, plan.train, seed)
    return model, source, validate


def _withheld(values_cg: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a tenth of the conditions with targets, to stop on where none are for validation.

    Their targets are errors of a base that was fitted without them, so they are as good as new to
    the network, and the base still has them all.
    """
    rows = np.flatnonzero(~np.isnan(values_cg).all(1))
    return np.sort(rng.permutation(rows)[: len(rows) // 10])


def _loss_on(model: Any, conditions: pl.DataFrame, values_cg: np.ndarray) -> Callable[[], float]:
    return lambda: float(np.nanmean((model.residual(conditions) - values_cg) ** 2))


def _cells(plan: MemberPlan, data: FitData) -> CellData:
    if data.cells is None:
        message = (
            f"{plan.card.name} learns from single cells and the screen holds profiles; open the "
            "file of the cells, or take a model of profiles (`perturbkit list models`)"
        )
        raise SchemaError(message)
    return data.cells


def _validation(
    model: Any, val: Responses | None, rng: np.random.Generator
) -> Callable[[], float] | None:
    """Return the mean squared error on the validation conditions the model can answer."""
    if val is None:
        return None
    chosen = val.select((model.statuses(val.conditions) != "refused") & ~val.is_control)
    if not chosen.keys:
        return None
    values_cg = model.training_values(chosen, rng, held_out=True)
    return _loss_on(model, chosen.conditions, values_cg)


def fit_members(
    plans: list[MemberPlan], data: FitData, run: Run | None, watch: Watch | None = None
) -> list[Any]:
    """Fit the members of an ensemble, one after the other.

    Raises:
        DivergedError: a member's training left the finite numbers.
    """
    members = []
    for plan in plans:
        try:
            members.append(fit_member(plan, data, run, watch))
        except PerturbkitError as error:
            error.add_note(f"while fitting member {plan.member} of {len(plans)}")
            raise
    return members
