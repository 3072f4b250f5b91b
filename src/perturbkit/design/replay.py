"""Replay: let policies choose from a screen that was measured in full, many seeds, paired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from perturbkit.core.rng import named_rng
from perturbkit.design.knowledge import Knowledge
from perturbkit.design.metrics import curve_area, paired_interval, regret, saved
from perturbkit.design.policy import HIT_TARGET, Chooser, Policy, learning_target
from perturbkit.design.tables import HitTable

N_DRAWS = 2000


@dataclass(frozen=True)
class ReplayPlan:
    """How a replay is run."""

    rounds: int = 5
    batch: int = 128
    seeds: int = 20
    shared_first: bool = True
    """policies that start by chance get, in each seed, the same first batch"""


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """What one policy chose: positions [seeds, rounds x batch] in order of choice."""

    policy: str
    chosen: np.ndarray

    def hits(self, table: HitTable) -> np.ndarray:
        """Return cumulative hits after each experiment, int64 [seeds, budget]."""
        return np.cumsum(table.hit_c[self.chosen], axis=1)


def replay_policy(
    name: str, policy: Policy, table: HitTable, knowledge: Knowledge, plan: ReplayPlan
) -> ReplayResult:
    """Run one policy for every seed; a policy without chance in it is run once and repeated."""
    side = "high" if table.score_c.min() >= 0 else "both"
    chooser = Chooser(policy, list(table.conditions), knowledge)
    rows, rng = [], np.random.default_rng(0)
    for seed in range(plan.seeds):
        if rows and policy.is_fixed:
            rows.append(rows[0])
            continue
        taken = np.zeros(len(table.conditions), bool)
        order: list[int] = []
        for r in range(plan.rounds):
            shared = r == 0 and plan.shared_first
            # the first batch by chance depends on the seed alone: all policies share it
            rng = named_rng(seed, "first") if shared else named_rng(seed, name, r)
            seen = np.where(taken, table.score_c, np.nan)
            hit = np.where(taken, table.hit_c.astype(float), np.nan)
            target = learning_target(seen, hit, side)
            picked, _ = chooser.choose(target, taken, plan.batch, rng, hit_above=HIT_TARGET)
            taken[picked] = True
            order += picked.tolist()
        rows.append(order)
    return ReplayResult(name, np.array(rows))


def replay(
    table: HitTable, policies: Mapping[str, Policy], knowledge: Knowledge, plan: ReplayPlan
) -> dict[str, ReplayResult]:
    """Replay several policies on one screen."""
    return {n: replay_policy(n, p, table, knowledge, plan) for n, p in policies.items()}


def summarise(
    results: Mapping[str, ReplayResult],
    table: HitTable,
    rng: np.random.Generator,
    *,
    reference: Sequence[str] = ("essentials", "degree", "page_rank", "coverage"),
) -> pl.DataFrame:
    """Return one row per policy: hits, efficiency over random, area, experiments saved.

    Efficiency is hits over the expected hits of as many random conditions. Its interval, and
    those of the differences to the best static prior of `reference` and to this package's own
    (`prior`), come from resampling seeds and conditions together; where one policy has fewer
    seeds, the seeds that both have are compared.
    """
    n, n_hits = len(table.conditions), int(table.hit_c.sum())
    static = [s for s in reference if s in results]
    best = max(static, key=lambda s: results[s].hits(table)[:, -1].mean(), default=None)
    rows = []
    for name, result in results.items():
        hits = result.hits(table)
        budget = hits.shape[1]
        expected = budget * n_hits / n
        low, high = paired_interval(result.chosen, None, table.hit_c, rng, N_DRAWS)
        row = {
            "policy": name, "seeds": len(hits), "experiments": budget,
            "hits": float(hits[:, -1].mean()), "efficiency": float(hits[:, -1].mean() / expected),
            "low": low / expected, "high": high / expected,
            "area": float(np.mean([curve_area(h, n, n_hits) for h in hits])),
            "saved": float(np.mean([saved(h, expected) for h in hits])),
            "regret": float(np.mean([regret(h, n_hits) for h in hits])),
        }  # fmt: skip
        for label, other in (("best_static", best), ("prior", "prior")):
            if other is not None and other in results:
                both = min(len(hits), len(results[other].chosen))
                pair = (result.chosen[:both], results[other].chosen[:both])
                away = paired_interval(*pair, table.hit_c, rng, N_DRAWS)
                row |= {f"over_{label}_low": away[0] / expected,
                        f"over_{label}_high": away[1] / expected}  # fmt: skip
        row["best_static"] = best
        rows.append(row)
    return pl.DataFrame(rows).sort("efficiency", descending=True)
