"""Agents trained on simulated screens alone, used as they are on measured ones.

`train` trains every agent for several seeds (weights, worlds and exploration differ) by the
curriculum; YEASTRACT's wiring is one of the topologies. `screens` replays IFNG, IL2, tau, NK and
SARS-CoV-2 (five rounds of 128, CEGv2 essentials out) with each trained agent, beside the greedy
Bayesian ridge, the static priors and chance. `shuffled` does so with outcomes permuted.
`simulated` plays the held-out simulated screens. Nothing of a measured screen is seen in training.
A line of JSON each; what is chosen is kept below --out, so a run goes on where it stopped.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from perturbkit.core.rng import named_rng
from perturbkit.design.agents import AGENTS, AgentConfig
from perturbkit.design.agents.episode import DesignTask, play
from perturbkit.design.agents.features import FEATURES, PoolView
from perturbkit.design.agents.store import is_agent, load_agent
from perturbkit.design.agents.topologies import read_topology
from perturbkit.design.agents.training import held_out_tasks, play_greedily, train_agent
from perturbkit.design.gather import read_networks
from perturbkit.design.knowledge import knowledge_of
from perturbkit.design.metrics import paired_interval
from perturbkit.design.policy import POLICIES
from perturbkit.design.replay import ReplayPlan, replay_policy
from perturbkit.design.tables import open_replay, read_essentials

SCREENS = ("ifng", "il2", "sanchez", "nk", "sars_cov_2")
STATIC = ("degree", "page_rank", "coverage", "prior")
ROUNDS, BATCH = 5, 128


def train(options: argparse.Namespace) -> None:
    topologies = [read_topology(options.data / "yeast" / "yeastract_edges.csv.gz")]
    config = AgentConfig(n_updates=options.updates)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name in options.agent or AGENTS:
            folder = options.out / f"{name}_{seed}"
            if is_agent(folder):
                continue
            start = time.process_time()
            _, records = train_agent(name, config, seed, topologies=topologies, out=folder)
            curve = [round(r["test_efficiency"], 3) for r in records if "test_efficiency" in r]
            stages = [(r["update"], r["promoted_to"]) for r in records if "promoted_to" in r]
            row = {"agent": name, "seed": seed, "curve": curve, "promoted": stages,
                   "cpu_s": round(time.process_time() - start)}  # fmt: skip
            print(json.dumps(row), flush=True)


def simulated(options: argparse.Namespace) -> None:
    """Held-out simulated screens: trained agents against signals taken alone."""
    topologies = [read_topology(options.data / "yeast" / "yeastract_edges.csv.gz")]
    tasks = held_out_tasks(AgentConfig(n_test=40), topologies)
    rows = {}
    for signal in ("prior", "degree_1", "near_1", "alike", "ridge"):
        column = FEATURES.index(signal)
        rows[signal] = [
            play(t, lambda e, c=column: e.x_cf[:, c].astype(float), np.random.default_rng(0))
            for t in tasks
        ]
    rows = {n: [e.efficiency for e in found] for n, found in rows.items()}
    for folder in sorted(options.out.iterdir()):
        if is_agent(folder):
            agent = load_agent(folder)
            rows[folder.name] = [play_greedily(agent, t).efficiency for t in tasks]
    for name, found in rows.items():
        values = np.array(found)
        draws = values[named_rng(0, "draws").integers(len(values), size=(2000, len(values)))]
        low, high = np.quantile(draws.mean(1), [0.025, 0.975])
        row = {"policy": name, "screens": len(values), "efficiency": round(values.mean(), 2),
               "interval": [round(low, 2), round(high, 2)]}  # fmt: skip
        print(json.dumps(row), flush=True)


def choices(options: argparse.Namespace, *, shuffled: bool) -> None:
    """Replay every screen with every agent and baseline; keep what each chose."""
    networks, sets = read_networks(options.data / "graphs")
    barred = read_essentials(options.data / "screens" / "CEGv2.txt")
    kind = "shuffled" if shuffled else "screens"
    for screen in options.screen or SCREENS:
        table = open_replay(screen, options.data).without(barred)
        rng = named_rng(0, "knowledge")
        known = knowledge_of(table.conditions, networks, sets, rng, essentials=barred)
        view = PoolView(known)
        if shuffled:
            table = table.shuffled(named_rng(0, "shuffle", screen))
        side = "high" if table.score_c.min() >= 0 else "both"
        task = DesignTask(table, view, ROUNDS, BATCH, side)
        for folder in sorted(options.out.iterdir()):
            path = options.out / kind / f"{screen}_{folder.name}.npy"
            if is_agent(folder) and not path.exists():
                start = time.process_time()
                episode = play_greedily(load_agent(folder), task)
                path.parent.mkdir(exist_ok=True)
                np.save(path, episode.chosen)
                row = {"screen": screen, "agent": folder.name, "shuffled": shuffled,
                       "efficiency": round(episode.efficiency, 3),
                       "cpu_s": round(time.process_time() - start, 1)}  # fmt: skip
                print(json.dumps(row), flush=True)
        for name in () if shuffled else (*STATIC, "greedy"):
            path = options.out / kind / f"{screen}_{name}.npy"
            if not path.exists():
                plan = ReplayPlan(ROUNDS, BATCH, options.baseline_seeds if name == "greedy" else 1)
                found = replay_policy(name, POLICIES[name], table, known, plan)
                np.save(path, found.chosen)
        np.save(options.out / kind / f"hits_{screen}.npy", table.hit_c)


def table_of(options: argparse.Namespace, kind: str) -> None:
    """Efficiency of each policy, seeds pooled, and paired differences, from what was chosen."""
    place = options.out / kind
    for screen in options.screen or SCREENS:
        hit = np.load(place / f"hits_{screen}.npy")
        per = ROUNDS * BATCH * hit.mean()
        chosen: dict[str, list[np.ndarray]] = {}
        for path in sorted(place.glob(f"{screen}_*.npy")):
            name = path.stem.removeprefix(f"{screen}_")
            found = np.load(path)
            kept = chosen.setdefault(name.rstrip("0123456789").rstrip("_"), [])
            kept.extend([found] if found.ndim == 1 else list(found))
        stacks = {n: np.array(v) for n, v in chosen.items()}
        best = max((s for s in STATIC if s in stacks), default=None,
                   key=lambda s: hit[stacks[s]].sum())  # fmt: skip
        for name, rows in stacks.items():
            rng = named_rng(0, "interval")
            low, high = paired_interval(rows, None, hit, rng, 2000)
            row = {"kind": kind, "screen": screen, "policy": name, "seeds": len(rows),
                   "efficiency": round(hit[rows].sum(1).mean() / per, 2),
                   "interval": [round(low / per, 2), round(high / per, 2)],
                   "by_seed": [round(float(v), 2) for v in hit[rows].sum(1) / per]}  # fmt: skip
            for label, other in (("twin", f"{name}_euclidean"), ("best_static", best)):
                if other in stacks and other != name and name in AGENTS:
                    pair = np.resize(stacks[other], rows.shape)
                    low, high = paired_interval(rows, pair, hit, named_rng(0, "pair"), 2000)
                    gap = float((hit[rows].sum(1).mean() - hit[pair].sum(1).mean()) / per)
                    row[f"over_{label}"] = [round(v, 2) for v in (gap, low / per, high / per)]
                    row[label] = other
            print(json.dumps(row), flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["train", "simulated", "screens", "shuffled"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PERTURBKIT_DATA", "")))
    parser.add_argument("--out", type=Path, default=Path("runs/agents"))
    parser.add_argument("--agent", action="append")
    parser.add_argument("--screen", action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--baseline-seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=110)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for what in options.what:
        if what == "train":
            train(options)
        elif what == "simulated":
            simulated(options)
        else:
            choices(options, shuffled=what == "shuffled")
            table_of(options, what)


if __name__ == "__main__":
    main()
