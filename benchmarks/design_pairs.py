"""Replay of Horlbeck's pairs: 100,576 interaction scores of fitness in K562, five rounds of 100.

Hits: `synergy`, the most negative 5 % (worse together than expected); `extreme`, the 5 % farthest
from the median. Policies: chance; the likeness of the two genes in networks, never adapted; ridge
on features of the pairs; effects of single genes from measured pairs; effects of genes, of alike
genes and of pairs of alike genes together. Adaptive ones start by chance. Essential genes stay in.
One row of JSON each, appended to `--out`.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.design import tell

from perturbkit.core.rng import named_rng
from perturbkit.design.gather import Hints, gather
from perturbkit.design.pairs import PairPool, members_of
from perturbkit.design.policy import POLICIES, Policy
from perturbkit.design.replay import ReplayPlan, replay_policy, summarise
from perturbkit.design.tables import TOP_SHARE, HitTable, open_replay, read_essentials

PLAN = (5, 100)


def synergy(table: HitTable) -> HitTable:
    """Turn scores round, from 0: the most negative 5 % are hits, the high end counts."""
    score = table.score_c.max() - table.score_c
    return replace(table, score_c=score, hit_c=score >= np.quantile(score, 1 - TOP_SHARE))


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PERTURBKIT_DATA", "")))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shuffle", action="store_true", help="permute the outcomes once")
    parser.add_argument("--out", "-o", type=Path)
    options = parser.parse_args(argv)
    table = open_replay("horlbeck", options.data)
    genes, member_c2 = members_of(table.conditions)
    essential = read_essentials(options.data / "screens" / "CEGv2.txt")
    rng = named_rng(0, "knowledge")
    known = gather(genes, options.data / "graphs", rng, Hints(essentials=essential))
    pool = PairPool(member_c2, known)
    pairs = pool.knowledge()
    policies = {
        "random": POLICIES["random"],
        "likeness": POLICIES["prior"],
        "ridge": POLICIES["greedy"],
        "genes": Policy("greedy", agent=pool.surrogate(relatives=False), agent_by_chance=True),
        "genes and pairs": Policy("greedy", agent=pool.surrogate(), agent_by_chance=True),
    }
    if options.shuffle:
        table = table.shuffled(named_rng(0, "shuffle", "horlbeck"))
    found = {"rows": []}
    for kind, hits in (("synergy", synergy(table)), ("extreme", table)):
        for name, policy in policies.items():
            plan = ReplayPlan(*PLAN, 20 if name == "random" else options.seeds)
            result = replay_policy(name, policy, hits, pairs, plan)
            row = summarise({name: result}, hits, named_rng(0, "interval")).row(0, named=True)
            found["rows"].append({"hits_are": kind, "shuffled": options.shuffle} | row)
            tell(found["rows"][-1], options.out)
    return found


if __name__ == "__main__":
    main()
