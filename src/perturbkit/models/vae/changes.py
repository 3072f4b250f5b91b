"""What the decoder and the training cells say of conditions, both as changes from the control."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
import torch

from perturbkit.core.condition import CONTROL, Condition, condition_table, conditions_of
from perturbkit.data.log_ratios import PRIOR_COUNTS, log_ratio, stratum_level
from perturbkit.models.vae.totals import Totals

if TYPE_CHECKING:
    from perturbkit.models.vae.model import CellVae


class Evidence(NamedTuple):
    """Changes of the training conditions [c, g]: log ratios of shares, or differences of values."""

    observed: np.ndarray
    """what the cells say; NaN without a cell, and of controls, whose level is observed already"""
    error: np.ndarray
    """its standard error"""
    decoded: np.ndarray
    """what the decoder says"""


@torch.no_grad()
def decoded(model: "CellVae", table: pl.DataFrame) -> np.ndarray:
    """Return the mean over draws of the state of what the decoder gives, [c, g]: shares or values.

    The same draws serve all conditions; batches take part as the context's control cells do.
    """
    rows = model.encode(table)
    context = rows["context"].clamp_min(0)
    shift = model.effect.expected(model.targets_of(rows))
    batches = batches_of_draws(model)
    result = np.empty((table.height, len(model.readouts)), np.float64)
    n = len(model.draws)
    for i in range(table.height):
        k = int(context[i])
        state = model.draws[None]
        if model.config.role == "prior":
            state = state + shift[i]
        output = model._decoded(
            state, shift[None, i : i + 1], torch.zeros(n, dtype=torch.int64),
            (torch.full((n,), k), torch.from_numpy(batches[k])), None,
        )[0].float()  # fmt: skip
        output = torch.softmax(output, -1) if model.likelihood.counts else output
        result[i] = output.mean(0).double().numpy()
    return result


def batches_of_draws(model: "CellVae") -> np.ndarray:
    """Return the batch of each draw in each context, [k, draws], by the control cells' shares."""
    assert model.totals is not None
    sizes = model.totals.control_kb + 1e-9 * model.totals.size_cb.sum(0) + 1e-12
    level = (np.arange(len(model.draws)) + 0.5) / len(model.draws)
    ends = np.cumsum(sizes / sizes.sum(1, keepdims=True), 1)
    return np.stack([np.minimum(np.searchsorted(e, level), len(e) - 1) for e in ends])


def controls_of(model: "CellVae") -> pl.DataFrame:
    """Return the table of the control of each context."""
    return pl.DataFrame({"perturbation": [CONTROL] * len(model.contexts),
                         "context": list(model.contexts)})  # fmt: skip


def difference(
    model: "CellVae", values: np.ndarray, origin: np.ndarray, base: np.ndarray
) -> np.ndarray:
    """Return the change from `origin`; of shares, such that those of `base` still add to one."""
    if not model.likelihood.counts:
        return values - origin
    change = np.log(np.maximum(values, 1e-12)) - np.log(np.maximum(origin, 1e-12))
    return change - np.log((base * np.exp(change)).sum(1, keepdims=True) / base.sum(1)[:, None])


def control_levels(
    model: "CellVae", totals: Totals, origin_kg: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the control's shares or values by context [k, g], and by batch too [k, b, g]."""
    sums, sizes = totals.control_kbg, totals.control_kb
    prior = PRIOR_COUNTS * origin_kg.shape[1] if model.likelihood.counts else 1e-3
    base = (sums.sum(1) + prior * origin_kg) / (sizes.sum(1) + prior)[:, None]
    if model.likelihood.counts:
        level = base[:, None] * stratum_level(sums, sizes[..., None] * base[:, None])
    else:
        level = (sums + 5 * base[:, None]) / (sizes[..., None] + 5)
    return base, level


def credibility(observed: np.ndarray, error: np.ndarray, change: np.ndarray) -> float:
    """Return by how much the decoder's changes are to be taken: their slope on the observed ones.

    Between 0, for a decoder that has learned nothing of the perturbations, and 1.
    """
    known = np.isfinite(observed)
    weight = np.where(known, 1 / error**2, 0.0)
    own = float((weight * change**2).sum())
    return float(np.clip((weight * change * np.where(known, observed, 0)).sum() / own, 0, 1)
                 if own > 0 else 0.0)  # fmt: skip


def observed_changes(
    model: "CellVae", totals: Totals, decoded_cg: np.ndarray, origin_kg: np.ndarray
) -> Evidence:
    """Return what some cells say of the training conditions, beside what the decoder says.

    Args:
        model: the fitted model.
        totals: sums over the training cells, or over some of them.
        decoded_cg: what the decoder gives for the training conditions.
        origin_kg: and for the control of each context.
    """
    conditions = conditions_of(training_table(totals.keys))
    context_c = np.maximum(model.contexts.find([c.context for c in conditions]), 0)
    _, level_kbg = control_levels(model, totals, origin_kg)
    size_c = totals.size_cb.sum(1)
    level = np.stack([s @ level_kbg[k] for s, k in zip(totals.size_cb, context_c, strict=True)])
    level /= np.maximum(size_c, 1e-9)[:, None]  # the control at the condition's mix of batches
    level = np.where(size_c[:, None] > 0, level, origin_kg[context_c])
    change = difference(model, decoded_cg, origin_kg[context_c], level)
    if model.likelihood.counts:
        share = level / level.sum(1, keepdims=True)
        y, counting = log_ratio(totals.sum_cg, size_c[:, None] * share)
        size = torch.from_numpy(totals.square_c / np.maximum(size_c, 1e-9))
        wider = model.likelihood.fluctuation(torch.from_numpy(share), size).detach().numpy()
        error = np.sqrt(wider * counting)
    else:
        n = np.maximum(totals.n_cb.sum(1), 1.0)[:, None]
        y, error = totals.sum_cg / n - level, np.sqrt(totals.spread_g / n)
    y[np.array([c.is_control for c in conditions]) | (totals.n_c == 0)] = np.nan
    return Evidence(y, error, change)


def training_table(keys: tuple[str, ...]) -> pl.DataFrame:
    """Return the table of the conditions with these keys."""
    parts = [key.rsplit(" | ", 1) for key in keys]
    return condition_table(Condition.parse(n, context=k) for n, k in parts)
