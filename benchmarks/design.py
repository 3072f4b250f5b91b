"""Replay of measured screens: all policies, with and without earlier screens and essential genes.

Data: `shared/data/screens` (IFNG, IL2, tau, NK, SARS-CoV-2) and the number of changed genes of
Replogle's K562 screen; networks `shared/data/graphs`; CEGv2 as a list of names, for the pool and
for the prior. Five rounds of 128. Knowledge, never mixed:
  networks    STRING, hu.MAP, Reactome, GO, the list of essential genes;
  all         also changed genes in K562 (another study, cell and readout; never on itself) and the
              6,349 genes that OP3 reports in blood cells, as "expressed";
  other_screens  `all`, and the screens of the other studies, whose weight the outcomes of
              the campaign decide (`graph_kernels` alone uses them);
  same_study  `all`, and the other screen of the same study (IFNG for IL2 and the reverse).
Seeds: policies that start by chance share the first batch of a seed; a policy without chance is
run once; slow (`--slow-seeds`) and costly policies (`--costly-seeds`; 0 leaves them out) say so
in the column seeds. One row of JSON for each screen and policy, appended to `--out` too; what is
there already is not run again. `--shuffle N` permutes the outcomes, N times.
`--choose FILE` reads such rows and chooses, for each study, the policy that does best on the
screens of the other studies: its figure there owes nothing to looking at the screen.
"""

import argparse
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from perturbkit.core.rng import named_rng
from perturbkit.design.gather import read_networks
from perturbkit.design.knowledge import Knowledge, knowledge_of
from perturbkit.design.policy import POLICIES
from perturbkit.design.replay import ReplayPlan, replay_policy, summarise
from perturbkit.design.surrogate import SURROGATES
from perturbkit.design.tables import STUDIES, HitTable, open_replay, read_essentials, size_by_gene

SCREENS: tuple[str, ...] = ("ifng", "il2", "sanchez", "nk", "sars_cov_2")
SCREENS_AND_K562 = (*SCREENS, "replogle_k562")
SISTER = {"ifng": "il2", "il2": "ifng"}
STATIC = ("random", "essentials", "degree", "page_rank", "coverage", "prior")
SLOW = (
    "prior_kernels", "typiclust", "core_set", "k_means", "lcmd", "gp_greedy", "gp_ucb",
    "gp_thompson", "kernels", "warm_kernels_mixture", "batch_bald",
)  # fmt: skip
COSTLY = ("deep_kernel", "botorch_greedy", "botorch_thompson", "lpm_greedy", "lpm_ucb")
LEADING = (*STATIC, "warm_ridge", "warm_gp", "warm_kernels", "warm_kernels_ucb", "warm_kernels_hit")


KINDS = ("networks", "all", "other_screens", "same_study")


class Bench:
    """Screens, and what is known of the genes of their pools."""

    def __init__(self, data: Path, screens: list[str], *, essentials: bool) -> None:
        self.essential = read_essentials(data / "screens" / "CEGv2.txt")
        self.whole = {s: open_replay(s, data) for s in SCREENS_AND_K562}
        barred: set[str] = set() if essentials else self.essential
        self.table = {s: self.whole[s].without(barred) for s in screens}
        with np.load(data / "op3" / "op3_signed_ranks_B_NK_T.npz", allow_pickle=False) as file:
            self.expressed = frozenset(file["genes"].tolist())
        self.networks = read_networks(data / "graphs")
        self.of_networks: dict[tuple[str, ...], Knowledge] = {}

    def knowledge(self, screen: str, table: HitTable, kind: str) -> Knowledge:
        """What is known of a pool, and of no other; `kind` is one of the four above."""
        pool = table.conditions
        if pool not in self.of_networks:
            rng = named_rng(0, "knowledge")
            known = knowledge_of(pool, *self.networks, rng, essentials=self.essential)
            self.of_networks[pool] = known
        known = self.of_networks[pool]
        if kind == "networks":
            return known
        if screen != "replogle_k562":
            known = known.with_earlier("changed genes in K562", self.score("replogle_k562", pool))
        if kind == "same_study":
            size = np.abs(self.score(SISTER[screen], pool))
            known = known.with_earlier("the other screen of the study", size)
        if kind == "other_screens":
            for other in SCREENS:
                if study_of(other) != study_of(screen):
                    sizes = size_by_gene(self.whole[other])
                    values = np.array([sizes.get(g, np.nan) for g in pool])
                    known = known.with_other(other, values)
        return known.with_expressed("expressed in blood cells", self.expressed, pool)

    def score(self, screen: str, pool: Sequence[str]) -> np.ndarray:
        """Scores of another screen for a pool, NaN where it has none."""
        table = self.whole[screen]
        value = dict(zip(table.conditions, table.score_c, strict=True))
        return np.array([value.get(g, np.nan) for g in pool])


def study_of(screen: str) -> str:
    return STUDIES.get(screen.upper(), screen)


def seeds_of(name: str, options: argparse.Namespace) -> int:
    """Seeds by what a replay costs: under a second of CPU, a few, or more than eight."""
    if name in COSTLY:
        return options.costly_seeds
    slow = name in SLOW or SURROGATES[POLICIES[name].surrogate].by_chance
    return options.slow_seeds if slow else options.seeds


def done(options: argparse.Namespace) -> set[tuple[str, str]]:
    """Screens and policies whose rows are in `--out` already."""
    if not options.out or not options.out.exists() or options.shuffle:
        return set()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()]
    return {(r["screen"], r["policy"]) for r in rows}


def rows_of(
    bench: Bench, screen: str, table: HitTable, names: list[str], options: argparse.Namespace
) -> Iterator[dict]:
    """Replay each policy; yield its row as soon as it is done, compared with the static ones."""
    known = bench.knowledge(screen, table, options.knowledge)
    about = {"screen": screen, "knowledge": options.knowledge,
             "essentials": "in" if options.essentials else "out", "shuffled": bool(options.shuffle),
             "pool": len(table.conditions), "hits_in_pool": int(table.hit_c.sum())}  # fmt: skip
    static: dict = {}
    for name in dict.fromkeys([*STATIC, *names]):
        plan = ReplayPlan(options.rounds, options.batch, seeds_of(name, options))
        result = replay_policy(name, POLICIES[name], table, known, plan)
        if name in STATIC:
            static[name] = result
        if name in names:
            rng = named_rng(0, "interval")
            rows = summarise(static | {name: result}, table, rng).filter(policy=name).to_dicts()
            yield about | rows[0]


def choose(path: Path) -> list[dict]:
    """Leave one study out: the policy best elsewhere, and what it does on the study's screens."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    value = {(r["screen"], r["policy"]): r for r in rows if r["screen"] in SCREENS}
    found = []
    for screen in SCREENS:
        others = [s for s in SCREENS if study_of(s) != study_of(screen)]
        names = {p for s, p in value if s == screen}
        names = {n for n in names if all((s, n) in value for s in others)}

        def merit(name: str, others: list[str] = others) -> float:
            logs = [math.log(max(value[s, name]["efficiency"], 0.1)) for s in others]
            return sum(logs) / len(logs)

        best = max(sorted(names), key=merit)
        row = value[screen, best]
        kept = ("efficiency", "low", "high", "over_best_static_low", "over_prior_low", "saved")
        found.append({"screen": screen, "chosen_on": others, "policy": best,
                      **{k: row[k] for k in kept}})  # fmt: skip
    return found


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PERTURBKIT_DATA", "")))
    parser.add_argument("--screen", action="append")
    parser.add_argument("--policy", action="append", help="default: the leading ones")
    parser.add_argument("--all-policies", action="store_true")
    parser.add_argument("--knowledge", choices=KINDS, default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--slow-seeds", type=int, default=3)
    parser.add_argument("--costly-seeds", type=int, default=1)
    parser.add_argument("--essentials", action="store_true", help="leave them in the pool")
    parser.add_argument("--shuffle", type=int, default=0)
    parser.add_argument("--choose", type=Path)
    parser.add_argument("--out", "-o", type=Path)
    options = parser.parse_args(argv)
    if options.choose:
        found = {"rows": choose(options.choose)}
        print("\n".join(json.dumps(r) for r in found["rows"]))
        return found
    screens = options.screen or list(SCREENS)
    bench = Bench(options.data, screens, essentials=options.essentials)
    every = sorted(POLICIES, key=lambda n: -seeds_of(n, options))
    names = every if options.all_policies else list(options.policy or LEADING)
    found, before = {"rows": []}, done(options)
    for screen in screens:
        tables = [bench.table[screen]]
        if options.shuffle:
            tables = [
                tables[0].shuffled(named_rng(i, "shuffle", screen)) for i in range(options.shuffle)
            ]
        for table in tables:
            left = [n for n in names if (screen, n) not in before and seeds_of(n, options)]
            for row in rows_of(bench, screen, table, left, options):
                found["rows"].append(row)
                tell(row, options.out)
    return found


def tell(row: dict, out: Path | None) -> None:
    """Print a row, and add it to what `out` has, so that nothing is lost with the process."""
    line = json.dumps(row)
    print(line, flush=True)
    if out:
        with out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
