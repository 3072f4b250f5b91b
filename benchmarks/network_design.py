"""Design for networks: information-driven against random choice of knock-outs, single or paired.

Data: simulated networks of 100 genes, one context, every gene can be knocked out any number of
times, alone or with another; each experiment with normal noise on log fold changes. Random is
balanced (no gene gets a second replicate before all have one), or plain, with replacement. Seeds:
one network and one campaign for each seed, all policies on the same network. Scored by the
area under precision-recall of direct edges (prevalence is given), by hierarchy consistency, the
chance that of an ancestor and its descendant the ancestor is placed higher, and by Kendall's tau
of levels. Intervals: bootstrap over seeds. `--out FILE` keeps the curves of each seed as soon as
they are there; seeds that the file has are not run again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.rng import named_rng
from perturbkit.data.simulate import SimulationConfig
from perturbkit.data.simulate.settings import NetworkConfig
from perturbkit.design.network import CHOOSERS, draw_truth, run_campaign

SINGLES_BY_CHANCE = ("random", "random_with_replacement")
HIERARCHY = {"complexes": 0.0, "common_response": 0.0, "feedback": 0.0}
SETTINGS: dict[str, tuple[dict[str, Any], float]] = {
    "hierarchy, 15 % regulators, noise 0.3": ({"regulators": 0.15, **HIERARCHY}, 0.3),
    "hierarchy, 30 % regulators, noise 0.3": ({"regulators": 0.3, **HIERARCHY}, 0.3),
    "hierarchy, 30 % regulators, noise 0.1": ({"regulators": 0.3, **HIERARCHY}, 0.1),
    "complexes and feedback, 15 % regulators, noise 0.3": ({"regulators": 0.15}, 0.3),
}


def interval(values: np.ndarray, rng: np.random.Generator) -> list[float]:
    draws = values[rng.integers(len(values), size=(2000, len(values)))].mean(1)
    return [float(v) for v in np.quantile(draws, [0.025, 0.975])]


def saved(curve: list[dict], target: float, budget: int) -> float:
    reached = [c["experiments"] for c in curve if c["auprc"] >= target]
    return 1 - reached[0] / budget if reached else 0.0


def kept(path: Path | None, name: str) -> dict[int, dict]:
    """Seeds of a setting that are in the file already."""
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {r["seed"]: r for r in rows if r["setting"] == name}


def one_seed(name: str, seed: int, options: argparse.Namespace) -> dict:
    """Run every policy on the network of one seed."""
    network, noise = SETTINGS[name]
    config = SimulationConfig(
        n_genes=100, n_contexts=1, n_perturbations=100, kind="ko", network=NetworkConfig(**network)
    )
    truth = draw_truth(config, named_rng(seed, "network"))
    curves = {}
    for p in CHOOSERS:
        # the curves of chance by single knock-outs are needed at their ends only
        at = [options.budget] if p in SINGLES_BY_CHANCE else options.at
        campaign = named_rng(seed, "campaign")
        curves[p] = run_campaign(truth, p, options.budget, options.batch, noise, campaign, at=at)
    prevalence = float(truth.edge_gg.mean())
    return {"setting": name, "seed": seed, "prevalence": prevalence, "curves": curves}


def study(name: str, options: argparse.Namespace) -> dict:
    rng, before, seeds = np.random.default_rng(0), kept(options.out, name), []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        row = before.get(seed) or one_seed(name, seed, options)
        seeds.append(row)
        if options.out and seed not in before:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        print(
            json.dumps({"seed": seed} | {p: last(c) for p, c in row["curves"].items()}), flush=True
        )
    curves = {p: [row["curves"][p] for row in seeds] for p in CHOOSERS}
    found: dict = {"seeds": options.seeds, "budget": options.budget,
                   "prevalence": float(np.mean([row["prevalence"] for row in seeds]))}  # fmt: skip
    for p, all_curves in curves.items():
        rows: dict = {}
        for metric in ("auprc", "over_prevalence", "hierarchy", "tau"):
            values = np.array([c[-1][metric] for c in all_curves])
            rows[metric] = [float(values.mean()), *interval(values, rng)]
        rows["curve"] = {c[0]["experiments"]: round(float(np.mean([x["auprc"] for x in c])), 3)
                         for c in zip(*all_curves, strict=True)}  # fmt: skip
        for against in SINGLES_BY_CHANCE:
            goals = [c[-1]["auprc"] for c in curves[against]]
            each = [saved(c, g, options.budget) for c, g in zip(all_curves, goals, strict=True)]
            mean = [{"experiments": b, "auprc": v} for b, v in rows["curve"].items()]
            rows[f"saved_against_{against}"] = {
                "mean_of_seeds": [float(np.mean(each)), *interval(np.array(each), rng)],
                "on_mean_curve": saved(mean, float(np.mean(goals)), options.budget),
            }
        found[p] = rows
    return found


def last(curves: list[dict]) -> list[float]:
    return [round(c["auprc"], 3) for c in curves]


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=400)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--setting", choices=list(SETTINGS), action="append")
    parser.add_argument("--at", type=int, nargs="+", default=[150, 175, 200, 225, 250])
    parser.add_argument("--out", "-o", type=Path)
    options = parser.parse_args(argv)
    found = {}
    for name in options.setting or SETTINGS:
        found[name] = study(name, options)
        print(json.dumps({name: found[name]}), flush=True)
    return found


if __name__ == "__main__":
    main()
