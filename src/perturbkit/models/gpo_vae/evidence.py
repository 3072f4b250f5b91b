"""Total effects of single perturbations as z-scores against control-control differences."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from perturbkit.core.condition import CONTROL, condition_keys, conditions_of
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.log_ratios import (
    PRIOR_COUNTS,
    log_ratio,
    stratum_level,
    without_common_shift,
)
from perturbkit.data.null_scores import calibrated
from perturbkit.models.cells import CellData
from perturbkit.models.vae.totals import Totals

N_SPLITS = 160
"""subsets of the controls that are compared with the rest of the controls"""
PRIOR_SPLITS = 20.0
"""weight of the spread that all readouts share against a readout's own, in splits"""
N_BINS = 6
"""groups of readouts by their level in the controls that share the shape of their null"""
GAINS = frozenset({"crispra", "oe"})
"""kinds of perturbation that raise their target"""


@dataclass(frozen=True, eq=False)
class ControlSplits:
    """Sums of counts over random subsets of the control cells, each like one condition."""

    sum_sg: np.ndarray
    """counts of each subset"""
    due_sg: np.ndarray
    """counts expected of it from the other controls of its batches"""
    size_s: np.ndarray
    """sum of squared totals over the sum of totals"""
    condition_s: np.ndarray
    """the condition whose number of cells and batches it copies"""

    @classmethod
    def of(cls, cells: CellData, totals: Totals, rng: np.random.Generator) -> Self:
        """Draw subsets of the training controls, in turn for every perturbed condition.

        Args:
            cells: the cells of a screen.
            totals: their sums, whose conditions are copied.
            rng: the draws.
        """
        store = cells.store
        is_control = (store.conditions["perturbation"] == CONTROL).to_numpy()
        rows = np.sort(np.concatenate([cells.train_n, cells.val_n]))
        rows = rows[is_control[store.arrays["condition"][rows]]]
        context = store.conditions["context"].to_numpy()[store.arrays["condition"][rows]]
        x = store.dense(rows).astype(np.float64)
        library, batch = x.sum(1), store.arrays["batch"][rows]
        n_cb = _cells_by_batch(cells, totals)
        profiles = cells.profiles
        perturbed = np.flatnonzero(~profiles.is_control)
        turns = -(-N_SPLITS // max(len(perturbed), 1))
        like = np.concatenate([rng.permutation(perturbed) for _ in range(turns)])[:N_SPLITS]
        parts = []
        for c in like:
            here = context == profiles.contexts[c]
            parts.append(_split(x, library, (here, batch, n_cb[c]), rng))
        sums, due, size = (np.stack(p) for p in zip(*parts, strict=True))
        return cls(sums, due, size, like)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def _cells_by_batch(cells: CellData, totals: Totals) -> np.ndarray:
    """Return the number of training cells of each condition in each batch."""
    store = cells.store
    rows = np.concatenate([cells.train_n, cells.val_n])
    where = {key: i for i, key in enumerate(totals.keys)}
    of_store = np.array([where.get(k, -1) for k in condition_keys(store.conditions)])
    code = of_store[store.arrays["condition"][rows]]
    n_cb = np.zeros(totals.size_cb.shape, np.int64)
    np.add.at(n_cb, (code[code >= 0], store.arrays["batch"][rows][code >= 0]), 1)
    return n_cb


def _split(
    x_ng: np.ndarray, library_n: np.ndarray, where: tuple[np.ndarray, np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Return sum, expectation and size of one subset of the controls of a context."""
    here, batch, wanted_b = where
    chosen, due = [], np.zeros(x_ng.shape[1])
    total = np.maximum(x_ng[here].sum(0), 0.5) / library_n[here].sum()
    for b in np.flatnonzero(wanted_b):
        members = np.flatnonzero(here & (batch == b))
        if members.size < 2:
            members = np.flatnonzero(here)
        few = rng.choice(members, min(int(wanted_b[b]), members.size // 2), replace=False)
        rest = np.setdiff1d(members, few, assume_unique=True)
        level = _level(x_ng[rest].sum(0), library_n[rest].sum(), total)
        due += library_n[few].sum() * level
        chosen.append(few)
    few = np.concatenate(chosen)
    size = float((library_n[few] ** 2).sum() / library_n[few].sum())
    return x_ng[few].sum(0), due, size


def _level(seen_g: np.ndarray, size: float, total_g: np.ndarray) -> np.ndarray:
    return total_g * stratum_level(seen_g, size * total_g)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What each single perturbation does to each readout in all."""

    sources: Vocabulary
    """targets perturbed alone, p"""
    readouts: Vocabulary
    change_pg: np.ndarray
    """log fold change, all contexts together"""
    error_pg: np.ndarray
    """its standard error, such that control splits have unit spread"""
    gains_p: np.ndarray
    """whether each perturbation raises its target"""
    whole_p: np.ndarray
    """whether it takes away all of its target's activity, whatever is left of its RNA"""

    @property
    def z_pg(self) -> np.ndarray:
        """Calibrated z-scores."""
        return self.change_pg / self.error_pg

    @property
    def own_p(self) -> np.ndarray:
        """Position of each source among the readouts, -1 where it is not measured."""
        return self.readouts.find(self.sources)


def evidence_of(
    totals: Totals, splits: ControlSplits, theta_g: np.ndarray, about: dict[str, Any]
) -> Evidence:
    """Compare every singly perturbed condition with the controls of its batches.

    Args:
        totals: sums over the training cells.
        splits: control against control.
        theta_g: inverse dispersion of each readout.
        about: `contexts`, `readouts`, `targets` and `kinds` of the model.
    """
    readouts = Vocabulary(about["readouts"], "readout")
    null, null_error = _log_ratio(splits.sum_sg, splits.due_sg, splits.size_s, theta_g)
    z = null / null_error
    shared = max(float(np.median(z**2)) / 0.4549, 0.25)
    own = (PRIOR_SPLITS * shared + (z**2).sum(0)) / (PRIOR_SPLITS + len(z))
    scale_g = np.sqrt(np.maximum(own, shared))
    rows, due, size = _perturbed(totals, about)
    change, error = _log_ratio(totals.sum_cg[rows], due, size, theta_g)
    scaled = change / (error * scale_g)
    score = calibrated(scaled, z / scale_g, _bins(totals.control_kbg.sum((0, 1))))
    known = np.abs(score) > 1e-9
    error = np.divide(np.abs(change), np.abs(score), out=error * scale_g, where=known)
    return _by_source(rows, (change, error), totals, about, readouts)


def _perturbed(totals: Totals, about: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the singly perturbed conditions, their expected counts, and their sizes."""
    contexts = list(about["contexts"])
    base = totals.control_kbg.sum(1) + PRIOR_COUNTS
    base /= base.sum(1, keepdims=True)
    level_kbg = np.stack([
        np.stack([_level(totals.control_kbg[k, b], totals.control_kb[k, b], base[k])
                  for b in range(totals.control_kb.shape[1])])
        for k in range(len(contexts))
    ])  # fmt: skip
    rows = np.array([i for i, t in enumerate(about["single_targets"]) if t], np.int64)
    context = [contexts.index(totals.keys[i].rsplit(" | ", 1)[1]) for i in rows]
    due = np.stack([totals.size_cb[i] @ level_kbg[k] for i, k in zip(rows, context, strict=True)])
    return rows, due, totals.square_c[rows] / np.maximum(totals.size_cb[rows].sum(1), 1e-9)


def _by_source(
    rows: np.ndarray, effects: tuple[np.ndarray, np.ndarray], totals: Totals,
    about: dict[str, Any], readouts: Vocabulary,
) -> Evidence:  # fmt: skip
    """Join the conditions of each target, weighted by their precision."""
    change, error = effects
    targets = np.array(about["single_targets"], dtype=object)[rows]
    kinds = np.array(about["kinds"], dtype=object)[rows]
    sources = Vocabulary(sorted(set(targets.tolist())), "perturbation")
    weight = 1 / error**2
    member = (targets == np.array(list(sources), dtype=object)[:, None]).astype(np.float64)
    precision = member @ weight
    pooled = (member @ (weight * change)) / precision
    last = [kinds[np.flatnonzero(m)[0]] for m in member]
    return Evidence(
        sources, readouts, pooled, 1 / np.sqrt(precision),
        np.array([k in GAINS for k in last]), np.array([k == "ko" for k in last]),
    )  # fmt: skip


def _log_ratio(
    seen: np.ndarray, due: np.ndarray, size: np.ndarray, theta_g: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log(seen / due), without the shift all share, and its error's standard deviation."""
    share = due / due.sum(1, keepdims=True)
    change, counting = log_ratio(seen, due)
    error = np.sqrt((1 + share * size[:, None] / theta_g) * counting)
    return without_common_shift(change, error), error


def _bins(level_g: np.ndarray) -> np.ndarray:
    """Return groups of readouts of like level, which share the shape of their null."""
    n_bins = max(1, min(N_BINS, len(level_g) // 50))
    return np.searchsorted(np.quantile(level_g, np.linspace(0, 1, n_bins + 1)[1:-1]), level_g)


def singles_of(cells: CellData) -> tuple[list[str], list[str]]:
    """Return for each training condition its target, where it has one alone, and its kind."""
    conditions = conditions_of(cells.profiles.conditions)
    targets = [c.targets[0] if len(c.targets) == 1 else "" for c in conditions]
    return targets, [c.kind for c in conditions]
