"""Replay of measured screens: every policy, with and without an earlier screen, essentials out.

Data: `shared/data/screens` (IFNG, IL2, tau, NK, SARS-CoV-2), networks `shared/data/graphs`,
essential genes CEGv2 (as a list of names, for the pool and for the prior). Five rounds of 128.
Seeds: the first batch of policies that start by chance is the same for all policies in a seed.
Two kinds of knowledge, always apart: `networks` (STRING, hu.MAP, Reactome, GO, CEGv2), and
`networks+replogle`, to which the numbers of changed genes of the genome-wide K562 screen
(Replogle 2022, another study, cell and readout) are added as an earlier screen.
A row of JSON for each screen, pool, knowledge and policy; `--shuffle` permutes the outcomes.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from perturbkit.core.rng import named_rng
from perturbkit.design.gather import read_networks
from perturbkit.design.knowledge import knowledge_of
from perturbkit.design.policy import POLICIES
from perturbkit.design.replay import ReplayPlan, replay, summarise
from perturbkit.design.tables import open_replay, read_essentials

STATIC = ("random", "degree", "page_rank", "coverage", "prior")


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PERTURBKIT_DATA", "")))
    parser.add_argument("--screen", action="append")
    parser.add_argument("--policy", action="append")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--earlier", action="store_true")
    parser.add_argument("--essentials", action="store_true", help="leave them in the pool")
    parser.add_argument("--shuffle", action="store_true")
    options = parser.parse_args(argv)
    data = options.data
    networks, sets = read_networks(data / "graphs")
    barred = read_essentials(data / "screens" / "CEGv2.txt")
    earlier = open_replay("replogle_k562", data)
    value = dict(zip(earlier.conditions, earlier.score_c, strict=True))
    found: dict = {"rows": []}
    for screen in options.screen or ["ifng", "il2", "sanchez", "nk", "sars_cov_2"]:
        table = open_replay(screen, data)
        if not options.essentials:
            table = table.without(barred)
        if options.shuffle:
            table = table.shuffled(named_rng(0, "shuffle", screen))
        rng = named_rng(0, "knowledge")
        known = knowledge_of(table.conditions, networks, sets, rng, essentials=barred)
        if options.earlier:
            have = np.array([value.get(g, np.nan) for g in table.conditions])
            known = known.with_earlier("changed genes in K562", have)
        names = [*STATIC, *(options.policy or [])]
        policies = {n: POLICIES[n] for n in names}
        results = replay(table, policies, known, ReplayPlan(seeds=options.seeds))
        for row in summarise(results, table, named_rng(0, "interval")).to_dicts():
            row |= {"screen": screen, "knowledge": "networks+replogle" if options.earlier else
                    "networks", "essentials": "in" if options.essentials else "out",
                    "shuffled": options.shuffle, "pool": len(table.conditions),
                    "hits_in_pool": int(table.hit_c.sum())}  # fmt: skip
            found["rows"].append(row)
            print(json.dumps(row), flush=True)
    return found


if __name__ == "__main__":
    main()
