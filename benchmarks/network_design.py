"""Design for networks: information-driven against balanced random choice of knock-outs.

Data: simulated networks of 100 genes, one context, every gene can be knocked out any number of
times, each replicate with normal noise on log fold changes. Seeds: one network and one campaign
for each seed, both policies on the same network. Scored by the area under precision-recall of
direct edges (prevalence is given) and by hierarchy consistency, the chance that of an ancestor
and its descendant the ancestor is placed higher. Intervals: bootstrap over seeds.
"""

import argparse
import json

import numpy as np

from perturbkit.core.rng import named_rng
from perturbkit.data.simulate import SimulationConfig
from perturbkit.data.simulate.settings import NetworkConfig
from perturbkit.design.network import CHOOSERS, draw_truth, run_campaign

HIERARCHY = {"complexes": 0.0, "common_response": 0.0, "feedback": 0.0}
SETTINGS = {
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


def study(name: str, seeds: int, budget: int, batch: int, step: int) -> dict:
    network, noise = SETTINGS[name]
    config = SimulationConfig(
        n_genes=100, n_contexts=1, n_perturbations=100, kind="ko", network=NetworkConfig(**network)
    )
    rng = np.random.default_rng(0)
    finals: dict[str, list] = {p: [] for p in CHOOSERS}
    savings, prevalence, means = [], [], []
    for seed in range(seeds):
        truth = draw_truth(config, named_rng(seed, "network"))
        prevalence.append(truth.edge_gg.mean())
        # the curve of chance is needed at its end only
        every = {"random": budget, "information": step}
        curves = {
            p: run_campaign(
                truth, p, budget, batch, noise, named_rng(seed, "campaign"), every=every[p]
            )
            for p in CHOOSERS
        }
        for p, curve in curves.items():
            finals[p].append((curve[-1]["auprc"], curve[-1]["hierarchy"]))
        means.append([c["auprc"] for c in curves["information"]])
        savings.append(saved(curves["information"], curves["random"][-1]["auprc"], budget))
    mean, steps = np.mean(means, 0), [c["experiments"] for c in curves["information"]]
    at = np.flatnonzero(mean >= np.mean([f[0] for f in finals["random"]]))
    found: dict = {
        "seeds": seeds, "budget": budget, "prevalence": float(np.mean(prevalence)),
        "saved_mean_of_seeds": float(np.mean(savings)),
        "saved_interval": interval(np.array(savings), rng),
        "saved_on_mean_curve": 1 - steps[int(at[0])] / budget if len(at) else 0.0,
    }  # fmt: skip
    for p, rows in finals.items():
        for i, metric in enumerate(("auprc", "hierarchy")):
            values = np.array([r[i] for r in rows])
            found[f"{p}_{metric}"] = [float(values.mean()), *interval(values, rng)]
    found["information_curve"] = dict(zip(steps, mean.round(3).tolist(), strict=True))
    return found


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=400)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--setting", choices=list(SETTINGS), action="append")
    parser.add_argument("--every", type=int, default=2, help="rounds between two scores")
    options = parser.parse_args(argv)
    found = {}
    for name in options.setting or SETTINGS:
        found[name] = study(name, options.seeds, options.budget, options.batch, options.every)
        print(json.dumps({name: found[name]}), flush=True)
    return found


if __name__ == "__main__":
    main()
