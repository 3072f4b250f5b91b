"""What a fitted autoencoder of cells answers: means by closed forms, and cells by sampling.

The decoder says by how much a condition's shares differ from the control's; the control's own
shares are taken from its cells. The decoder's changes count as far as the training cells bear them
out (`credibility`), and what a seen condition's cells say beyond is believed as far as its error
allows (`shrinkage.shrink`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from perturbkit.core.condition import CONTROL, conditions_of
from perturbkit.core.responses import Responses
from perturbkit.models.cells import PredictedCells
from perturbkit.models.vae.moments import mean_log1p
from perturbkit.models.vae.shrinkage import shrink

if TYPE_CHECKING:
    from perturbkit.models.vae.model import CellVae

STRATUM_COUNTS = 20.0
"""counts at which a batch's own control level counts as much as its context's"""
PRIOR_COUNTS = 0.5
"""added to observed and expected sums"""


@dataclass(frozen=True, eq=False)
class Answer:
    """What is said of some conditions, before it is put in the unit of the profiles."""

    change_cg: np.ndarray
    """log ratio of shares, or difference of values, to the control of the context"""
    context_c: np.ndarray
    """context of each condition"""
    base_kg: np.ndarray
    """shares, or values, of the control of each context"""


@torch.no_grad()
def decoded(model: "CellVae", table: pl.DataFrame) -> np.ndarray:
    """Return the mean over draws of the state of what the decoder gives, [c, g]: shares or values.

    The same draws serve all conditions; batches take part as the context's control cells do.
    """
    rows = model.encode(table)
    context = rows["context"].clamp_min(0)
    shift = model.effect.expected(model.targets_of(rows))
    batches = _batches_of_draws(model)
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


def _batches_of_draws(model: "CellVae") -> np.ndarray:
    """Return the batch of each draw in each context, [k, draws], by the control cells' shares."""
    assert model.totals is not None
    sizes = model.totals.control_kb + 1e-9 * model.totals.size_cb.sum(0) + 1e-12
    level = (np.arange(len(model.draws)) + 0.5) / len(model.draws)
    ends = np.cumsum(sizes / sizes.sum(1, keepdims=True), 1)
    return np.stack([np.minimum(np.searchsorted(e, level), len(e) - 1) for e in ends])


def answer(model: "CellVae", table: pl.DataFrame) -> Answer:
    """Return the change of each condition: the decoder's, and of seen ones the residual's part."""
    conditions = conditions_of(table)
    context_c = np.maximum(model.contexts.find([c.context for c in conditions]), 0)
    origin_kg = decoded(model, _controls(model))
    base_kg, level_kbg = _control_levels(model, origin_kg)
    change = _difference(model, decoded(model, table), origin_kg[context_c], base_kg[context_c])
    if model.config.residual:
        observed = observed_changes(model, level_kbg, origin_kg)
        trust = credibility(*observed)
        change = trust * change + _residuals(model, table, observed, trust)
    return Answer(change, context_c, base_kg)


def _controls(model: "CellVae") -> pl.DataFrame:
    return pl.DataFrame({"perturbation": [CONTROL] * len(model.contexts),
                         "context": list(model.contexts)})  # fmt: skip


def _difference(
    model: "CellVae", values: np.ndarray, origin: np.ndarray, base: np.ndarray
) -> np.ndarray:
    """Return the change from `origin`; of shares, such that those of `base` still add to one."""
    if not model.likelihood.counts:
        return values - origin
    change = np.log(np.maximum(values, 1e-12)) - np.log(np.maximum(origin, 1e-12))
    return change - np.log((base * np.exp(change)).sum(1, keepdims=True) / base.sum(1)[:, None])


def _control_levels(model: "CellVae", origin_kg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the control's shares or values by context [k, g], and by batch too [k, b, g]."""
    totals = model.totals
    assert totals is not None
    sums, sizes = totals.control_kbg, totals.control_kb
    prior = PRIOR_COUNTS * origin_kg.shape[1] if model.likelihood.counts else 1e-3
    base = (sums.sum(1) + prior * origin_kg) / (sizes.sum(1) + prior)[:, None]
    if model.likelihood.counts:
        due = sizes[..., None] * base[:, None]
        level = base[:, None] * (sums + STRATUM_COUNTS) / (due + STRATUM_COUNTS)
    else:
        level = (sums + 5 * base[:, None]) / (sizes[..., None] + 5)
    return base, level


def _residuals(
    model: "CellVae", table: pl.DataFrame,
    training: tuple[np.ndarray, np.ndarray, np.ndarray], trust: float,
) -> np.ndarray:  # fmt: skip
    """Return the shrunken residual of each condition asked for; 0 for those never seen."""
    assert model.totals is not None
    where = {key: i for i, key in enumerate(model.totals.keys)}
    result = np.zeros((table.height, len(model.readouts)))
    keys = [c.key for c in conditions_of(table)]
    asked = [(i, where[key]) for i, key in enumerate(keys) if key in where]
    if not asked:
        return result
    observed, error, change = training
    believed = shrink(observed - trust * change, error)
    here, there = np.array(asked).T
    result[here] = believed[there]
    return result


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
    model: "CellVae", level_kbg: np.ndarray, origin_kg: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what the training cells say, its standard error, and the decoder, [c, g] each.

    Controls say nothing (NaN): their level is observed already.
    """
    totals = model.totals
    assert totals is not None
    table = training_table(totals.keys)
    conditions = conditions_of(table)
    context_c = np.maximum(model.contexts.find([c.context for c in conditions]), 0)
    size_c = totals.size_cb.sum(1)
    level = np.stack([s @ level_kbg[k] for s, k in zip(totals.size_cb, context_c, strict=True)])
    level /= np.maximum(size_c, 1e-9)[:, None]  # the control at the condition's mix of batches
    change = _difference(model, decoded(model, table), origin_kg[context_c], level)
    if model.likelihood.counts:
        share = level / level.sum(1, keepdims=True)
        seen, due = totals.sum_cg + PRIOR_COUNTS, size_c[:, None] * share + PRIOR_COUNTS
        size = torch.from_numpy(totals.square_c / np.maximum(size_c, 1e-9))
        wider = model.likelihood.fluctuation(torch.from_numpy(share), size).detach().numpy()
        y, error = np.log(seen / due), np.sqrt(wider / np.sqrt(seen * due))
    else:
        assert totals.spread_cg is not None
        n = np.maximum(size_c, 1.0)[:, None]
        spread = (n * totals.spread_cg + 10 * np.median(totals.spread_cg, 0)) / (n + 10)
        y, error = totals.sum_cg / n - level, np.sqrt(spread / n)
    y[[c.is_control for c in conditions]] = np.nan
    return y, error, change


def training_table(keys: tuple[str, ...]) -> pl.DataFrame:
    """Return the table of the conditions with these keys."""
    from perturbkit.core.condition import Condition, condition_table

    parts = [key.rsplit(" | ", 1) for key in keys]
    return condition_table(Condition.parse(n, context=k) for n, k in parts)


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
        return origin + said.change_cg
    totals = model.totals
    assert totals is not None
    theta = model.likelihood.theta.detach().double().cpu().numpy()
    share = said.base_kg[said.context_c] * np.exp(said.change_cg)
    share /= share.sum(1, keepdims=True)
    result = np.empty_like(share)
    for k in np.unique(said.context_c):
        mine = said.context_c == k
        both = np.concatenate([said.base_kg[[k]], share[mine]])
        both[0] /= both[0].sum()
        mean = mean_log1p(both, theta, totals.library_kl[k])
        result[mine] = mean[1:] - mean[0]
    return np.maximum(origin + result, 0.0)


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
    batch = torch.from_numpy(_batches_of_draws(model)[k][rng.integers(len(model.draws), size=n)])
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
