"""All scores of predicted cells in one table: value, interval, baseline, ceiling and reason."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import sparse

from perturbkit.core.errors import UnitError, unknown_name
from perturbkit.core.screen import Screen
from perturbkit.data.stats import TARGET_SUM
from perturbkit.metrics.bootstrap import draw_weights, interval
from perturbkit.metrics.cells import CELL_METRICS
from perturbkit.metrics.cells.align import AlignedCells, align_cells
from perturbkit.metrics.cells.card import CellsCard
from perturbkit.metrics.cells.counts import bulk_shares
from perturbkit.metrics.cells.pair import Cells, CellsPair, Rules

LEVEL = 0.95
"""Coverage of the intervals."""
POOLED_DRAWS = 200
"""Bootstrap draws of scores that all perturbations have together."""
PROFILES = ("full", "vcc", "minimal", "vcc2026", "distribution", "perturbench", "state")
NOT_PREDICTED = "not predicted"


@dataclass(frozen=True, eq=False)
class CellScores:
    """What `score_cells` found."""

    table: pl.DataFrame
    """a row per metric: value, low, high, n, baseline, ceiling, better, best, reason"""
    perturbations: pl.DataFrame
    """long table: context, perturbation, metric, value, reason; without the pooled metrics"""
    notes: list[str]
    """what could not be compared"""

    @property
    def complete(self) -> bool:
        """Whether every metric has a value."""
        return bool(self.table["value"].is_not_nan().all())


def profile_cards(profile: str) -> list[CellsCard]:
    """Return the metrics of a profile.

    Raises:
        UnknownNameError: it is not in PROFILES.
    """
    if profile not in PROFILES:
        raise unknown_name("profile", profile, PROFILES)
    return [card for card in CELL_METRICS.values() if profile in card.profiles]


def score_cells(
    truth: Screen,
    predicted: Screen,
    *,
    metrics: Sequence[str | CellsCard] | None = None,
    rules: Rules = "perturbkit",
    rng: np.random.Generator,
    n_bootstrap: int = 1000,
    references: bool = True,
) -> CellScores:
    """Score predicted cells against measured ones of the same perturbations.

    Args:
        truth: counts or log-normalized cells, with controls in every context.
        predicted: predicted cells in any order; their controls count by cell-eval's rules only.
        metrics: names from CELL_METRICS or cards of your own, or those of `profile_cards`; the
            profile full by default, cell-eval's 28.
        rules: `perturbkit`, or `cell-eval` to reproduce the numbers of cell-eval 0.8.2.
        rng: for the bootstrap and the halves.
        n_bootstrap: number of draws.
        references: whether to add the baseline (cells of all measured perturbations, which no
            honest model can know exactly) and the split-half ceiling.

    Raises:
        UnitError: neither counts nor log-normalized, different scales, or logs where a metric
            needs counts.
        SchemaError: nothing in common, or a control is missing.
        UnknownNameError: no metric of that name.
    """
    names = profile_cards("full") if metrics is None else metrics
    cards = [m if isinstance(m, CellsCard) else CELL_METRICS[m] for m in names]
    for card in cards:
        if card.takes == "counts" and not truth.unit == predicted.unit == "counts":
            message = (
                f"{card.name} needs raw counts on both sides; truth is {truth.unit} and the "
                f"predictions are {predicted.unit}. Give whole counts, or take a profile of "
                "log-normalized cells such as full"
            )
            raise UnitError(message)
    aligned = align_cells(truth, predicted, rules)
    columns = {"value": aligned.pairs}
    if references:
        columns["baseline"] = {c: mean_baseline(pair, rng) for c, pair in aligned.pairs.items()}
        columns["ceiling"] = {c: halves(pair, rng) for c, pair in aligned.pairs.items()}
    rows, long = [], []
    weights = None
    for card in cards:
        parts = {c: card.fn(pair) for c, pair in aligned.pairs.items()}
        row: dict[str, object] = {"metric": card.name}
        if card.pool is None:
            table = _long(card, parts, aligned)
            long.append(table)
            values = table["value"].to_numpy()
            if weights is None:
                labels = table["perturbation"].to_numpy().astype(str)
                weights = draw_weights(labels, n_bootstrap, rng)
            row |= _mean(values) | _bounds(interval(values[:, None], weights, LEVEL)[:, 0])
            row["reason"] = _summary(table["reason"].to_list())
        else:
            row |= _pooled(card, parts, rng)
        for name in ("baseline", "ceiling"):
            pairs = columns.get(name)
            row[name] = float("nan") if pairs is None else _value(card, pairs)
        if not np.isnan(row["ceiling"]):  # pyright: ignore[reportArgumentType, reportCallIssue]
            row["ceiling"] = float(card.replicate(np.float64(row["ceiling"])))  # pyright: ignore
        rows.append(row | {"better": card.better, "best": card.best})
    order = ["metric", "value", "low", "high", "n", "baseline", "ceiling", "better", "best",
             "reason"]  # fmt: skip
    table = pl.DataFrame(rows, infer_schema_length=None).select(order)
    return CellScores(table, pl.concat(long) if long else pl.DataFrame(), aligned.notes)


def mean_baseline(pair: CellsPair, rng: np.random.Generator) -> CellsPair:
    """Predict cells of all measured perturbations for each of them: the mean, with real spread.

    As many cells as a perturbation has in the middle, equally many of each, the same for all. By
    cell-eval's rules they are identical cells of the mean of the means, the control's among them,
    as its `baseline` has them.
    """
    n_k = np.bincount(pair.truth.code_n[pair.truth.code_n > 0])[1:]
    n = max(1, int(np.median(n_k)))
    controls = pair.truth.rows(0)
    matrices = [m for m in (pair.truth.x_ng, pair.truth.counts_ng) if m is not None]
    if pair.compat:
        mean = pair.truth.mean_kg.mean(0)
        if pair.truth.counts_ng is not None:
            library = np.median(np.asarray(pair.truth.counts_ng.sum(1)))
            mean = bulk_shares(pair.truth)[pair.truth.group_p].mean(0)
            rows = [np.log1p(TARGET_SUM * mean), library * mean]
        else:
            rows = [mean]
        below = [sparse.csr_matrix(np.tile(r.astype(np.float32), (n, 1))) for r in rows]
    else:
        chosen = _some_of_each(pair.truth, n, rng)
        below = [m[chosen] for m in matrices]
    both = [
        sparse.vstack([m[controls], rest], format="csr")
        for m, rest in zip(matrices, below, strict=True)
    ]
    code = np.repeat([0, 1], [len(controls), n])
    group = np.ones(len(pair.perturbations), np.int64)
    cells = Cells(both[0], code, group, both[1] if len(both) > 1 else None)
    return replace(pair, predicted=cells, cache={})


def _some_of_each(cells: Cells, n: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of n perturbed cells, the first of each perturbation in a random order first."""
    order = rng.permutation(np.flatnonzero(cells.code_n > 0))
    order = order[np.argsort(cells.code_n[order], kind="stable")]
    sorted_code = cells.code_n[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_code, sorted_code)
    return order[np.lexsort((rng.random(len(order)), place))][:n]


def halves(pair: CellsPair, rng: np.random.Generator) -> CellsPair:
    """Let one random half of each perturbation's cells predict the other.

    The control stays whole, as it is for every model; by cell-eval's rules it is halved as well.
    """
    code = pair.truth.code_n
    order = np.lexsort((rng.random(len(code)), code))
    first = np.zeros(len(code), bool)
    rank = np.arange(len(code)) - np.searchsorted(code[order], code[order])
    first[order] = rank % 2 == 0
    whole = (code == 0) & (not pair.compat)
    sides = [np.where(side | whole, code, -1) for side in (first, ~first)]
    lone = [np.bincount(s[s >= 0], minlength=pair.truth.n_groups + 1) == 0 for s in sides]
    if any(side.any() for side in lone):
        # a perturbation of one cell has no second half: it predicts itself nowhere, so leave out
        kept = ~(lone[0] | lone[1])[pair.truth.group_p]
        return _subset(pair, sides, np.flatnonzero(kept))
    truth, predicted = (replace(pair.truth, code_n=side, cache={}) for side in sides)
    return replace(pair, truth=truth, predicted=predicted, cache={})


def _subset(pair: CellsPair, codes: list[np.ndarray], kept: np.ndarray) -> CellsPair:
    """Keep some perturbations and number their groups anew."""
    into = np.full(pair.truth.n_groups + 1, -1)
    into[0] = 0
    into[pair.truth.group_p[kept]] = np.arange(1, len(kept) + 1)
    cells = [
        Cells(
            pair.truth.x_ng,
            np.where(c >= 0, into[c], -1),
            np.arange(1, len(kept) + 1),
            pair.truth.counts_ng,
        )
        for c in codes
    ]
    names = type(pair.perturbations)((pair.perturbations[i] for i in kept), "perturbation")
    targets = tuple(pair.targets[i] for i in kept)
    return replace(
        pair, truth=cells[0], predicted=cells[1], perturbations=names, targets=targets, cache={}
    )


def _long(card: CellsCard, parts: dict[str, np.ndarray], aligned: AlignedCells) -> pl.DataFrame:
    """Score of every measured perturbation, with the reason where there is none."""
    rows = []
    for context, pair in aligned.pairs.items():
        for name, value in zip(pair.perturbations, parts[context], strict=True):
            reason = card.undefined if np.isnan(value) else ""
            rows.append((context, name, card.name, float(value), reason))
    for context, names in aligned.missing.items():
        rows += [(context, n, card.name, float("nan"), NOT_PREDICTED) for n in names]
    schema = {"context": pl.String, "perturbation": pl.String, "metric": pl.String,
              "value": pl.Float64, "reason": pl.String}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _mean(values: np.ndarray) -> dict[str, object]:
    valid = values[~np.isnan(values)]
    return {"value": float(valid.mean()) if len(valid) else float("nan"), "n": len(valid)}


def _bounds(pair: np.ndarray) -> dict[str, object]:
    return {"low": float(pair[0]), "high": float(pair[1])}


def _pooled(
    card: CellsCard, parts: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, object]:
    """Value, interval and count of a score that all perturbations have together, by context."""
    assert card.pool is not None
    values = np.array([card.pool(p) for p in parts.values()])
    row = _mean(values) | {"low": float("nan"), "high": float("nan"), "reason": ""}
    row["n"] = sum(len(p) for p in parts.values())
    if np.isnan(values).all():
        return row | {"reason": card.undefined, "n": 0}
    if card.resample:
        draws = [
            np.nanmean([card.pool(p[rng.integers(0, len(p), len(p))]) for p in parts.values()])
            for _ in range(POOLED_DRAWS)
        ]
        row |= _bounds(np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return row


def _value(card: CellsCard, pairs: dict[str, CellsPair]) -> float:
    """The one number of a metric for a reference."""
    parts = [card.fn(pair) for pair in pairs.values()]
    values = np.concatenate(parts) if card.pool is None else np.array([card.pool(p) for p in parts])
    return float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")


def _summary(reasons: list[str]) -> str:
    counts = {r: reasons.count(r) for r in dict.fromkeys(reasons) if r}
    return "; ".join(f"{n} of {len(reasons)}: {reason}" for reason, n in counts.items())
