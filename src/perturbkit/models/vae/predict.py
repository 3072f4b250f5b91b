"""What a fitted autoencoder of cells answers: means by closed forms, and cells by sampling.

The decoder says by how much a condition's shares differ from the control's; the control's own
shares are taken from its cells. The decoder's changes count as far as cells that it was not trained
on bear them out (`changes.credibility`); seen conditions take what their own cells say (`stack`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from perturbkit.core.condition import CONTROL, conditions_of
from perturbkit.core.responses import Responses
from perturbkit.models.cells import PredictedCells
from perturbkit.models.vae.changes import (
    batches_of_draws,
    control_levels,
    controls_of,
    decoded,
    difference,
)
from perturbkit.models.vae.moments import mean_log1p, share_of_mean
from perturbkit.models.vae.stack import believed, in_unit

if TYPE_CHECKING:
    from perturbkit.models.vae.model import CellVae


@dataclass(frozen=True, eq=False)
class Answer:
    """What is said of some conditions, before it is put in the unit of the profiles."""

    change_cg: np.ndarray
    """log ratio of shares, or difference of values, to the control of the context"""
    context_c: np.ndarray
    """context of each condition"""
    base_kg: np.ndarray
    """shares, or values, of the control of each context"""
    difference_cg: np.ndarray
    """the same in the unit of the profiles; shares, which add to one, give it only nearly"""


def answer(model: "CellVae", table: pl.DataFrame) -> Answer:
    """Return the change of each condition: the decoder's, and of seen ones the residual's part."""
    conditions = conditions_of(table)
    context_c = np.maximum(model.contexts.find([c.context for c in conditions]), 0)
    origin_kg = decoded(model, controls_of(model))
    assert model.totals is not None
    base_kg, _ = control_levels(model, model.totals, origin_kg)
    change = difference(model, decoded(model, table), origin_kg[context_c], base_kg[context_c])
    if not model.config.residual:
        means = in_unit(model, change[None], base_kg, context_c)[0]
        return Answer(change, context_c, base_kg, means)
    found = believed(model)
    change *= found.credibility
    means = in_unit(model, change[None], base_kg, context_c)[0]
    said = Answer(change, context_c, base_kg, means)
    _replace_seen(model, table, said, found.difference_cg)
    return said


def _replace_seen(
    model: "CellVae", table: pl.DataFrame, said: Answer, difference_cg: np.ndarray
) -> None:
    """Put what is believed of seen conditions in the place of the decoder's change."""
    totals = model.totals
    assert totals is not None
    change, context_c, base_kg = said.change_cg, said.context_c, said.base_kg
    seen = {k: i for i, k in enumerate(totals.keys)}
    asked = [(i, seen[c.key], c.is_control) for i, c in enumerate(conditions_of(table))
             if c.key in seen]  # fmt: skip
    counts = model.likelihood.counts
    theta = model.likelihood.theta.detach().double().cpu().numpy() if counts else np.zeros(0)
    for k in range(len(base_kg)):
        of_k = [(i, j) for i, j, control in asked if context_c[i] == k and not control]
        if not of_k:
            continue
        here, there = np.array(of_k).T
        change[here] = said.difference_cg[here] = difference_cg[there]
        if counts:
            share = base_kg[k] / base_kg[k].sum()
            wanted = share_of_mean(difference_cg[there], share, theta, totals.library_kl[k])
            change[here] = np.log(wanted / np.maximum(share, 1e-12))


def responses(model: "CellVae", table: pl.DataFrame) -> Responses:
    """Return the mean response of each condition; refused ones are NaN."""
    status = model.statuses(table)
    values = np.full((table.height, len(model.readouts)), np.nan, np.float32)
    kept = np.flatnonzero(status != "refused")
    if kept.size:
        values[kept] = _in_unit(model, table[kept])
    answered = table.with_columns(status=pl.Series(status.astype(str)))
    return Responses(values[None], answered, model.readouts, model.unit)


def _in_unit(model: "CellVae", table: pl.DataFrame) -> np.ndarray:
    said = answer(model, table)
    origin = _observed_controls(model, said.base_kg)[said.context_c]
    if not model.likelihood.counts:
        return origin + said.difference_cg
    return np.maximum(origin + said.difference_cg, 0.0)


def _observed_controls(model: "CellVae", base_kg: np.ndarray) -> np.ndarray:
    """Return the mean response of each context's control, in the unit of the profiles."""
    totals = model.totals
    assert totals is not None
    where = {key: i for i, key in enumerate(totals.keys)}
    result = np.empty_like(base_kg)
    for k, context in enumerate(model.contexts):
        at = where.get(f"{CONTROL} | {context}")
        if at is not None:
            result[k] = totals.mean_cg[at]
        elif model.likelihood.counts:
            theta = model.likelihood.theta.detach().double().cpu().numpy()
            result[k] = mean_log1p(base_kg[[k]], theta, totals.library_kl[k])[0]
        else:
            result[k] = base_kg[k]
    return result


def cells(
    model: "CellVae", table: pl.DataFrame, n: int, rng: np.random.Generator
) -> PredictedCells:
    """Draw cells: states from the prior, libraries of control cells, then the likelihood."""
    status = model.statuses(table)
    kept = np.flatnonzero(status != "refused")
    drawn: list[np.ndarray | None] = [None] * table.height
    if kept.size:
        said = answer(model, table[kept])
        mean = decoded(model, table[kept])
        for i, row in enumerate(kept):
            drawn[row] = _draw(model, table[[int(row)]], (said, mean[i], i), n, rng)
    answered = table.with_columns(status=pl.Series(status.astype(str)))
    unit = "counts" if model.likelihood.counts else model.unit
    return PredictedCells(answered, drawn, model.readouts, unit)


@torch.no_grad()
def _draw(
    model: "CellVae", row: pl.DataFrame, said: tuple[Answer, np.ndarray, int], n: int,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    whole, mean_g, i = said
    encoded = model.encode(row)
    shift = model.effect.expected(model.targets_of(encoded))
    k = int(whole.context_c[i])
    state = torch.from_numpy(rng.standard_normal((1, n, model.draws.shape[1]), np.float32))
    if model.config.role == "prior":
        state = state + shift
    batch = torch.from_numpy(batches_of_draws(model)[k][rng.integers(len(model.draws), size=n)])
    codes = (torch.full((n,), k), batch)
    where = torch.zeros(n, dtype=torch.int64)
    output = model._decoded(state, shift[None], where, codes, None)[0].float()
    assert model.totals is not None
    if not model.likelihood.counts:
        centre = whole.base_kg[k] + whole.change_cg[i] - mean_g
        sd = model.likelihood.log_sd.exp().numpy()
        noise = rng.standard_normal(output.shape).astype(np.float32)
        return (output.numpy() + centre + sd * noise).astype(np.float32)
    wanted = whole.base_kg[k] * np.exp(whole.change_cg[i])
    # the mean of the cells is what `predict` says: the decoder gives their scatter around it
    share = torch.softmax(output, -1).double().numpy() * (wanted / np.maximum(mean_g, 1e-12))
    share /= share.sum(1, keepdims=True)
    library = rng.choice(model.totals.library_kl[k], n)
    theta = model.likelihood.theta.double().numpy()
    rate = rng.gamma(theta, share * library[:, None] / theta)
    return rng.poisson(rate).astype(np.float32)
