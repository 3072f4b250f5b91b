"""How fast the simulator is, and what its screens are like.

Data: none but the settings in CASES. Split: none. Seeds: 0 to --repeats - 1. Signal: preset
`four_contexts`, seed 0, on the true responses, the perturbed genes themselves left out.
"""

import argparse
import json
import time

import numpy as np

from perturbkit.data.simulate import SimulationConfig, preset, simulate
from perturbkit.data.simulate.settings import CellConfig

CASES = {
    "300 genes x 200 perturbations x 3 contexts x 50 cells": SimulationConfig(n_perturbations=200),
    "preset planted_edges: 1,000 genes x 100 perturbations, 5,000 cells": preset("planted_edges"),
    "5,000 genes x 500 perturbations x 1 context x 20 cells, 3,000 counts": SimulationConfig(
        n_genes=5000, n_perturbations=500, n_contexts=1, n_cells=20, cells=CellConfig(umi=3000.0)
    ),
    "truth of all 1,000 genes x 3 contexts": SimulationConfig(
        n_genes=1000, n_perturbations=20, n_cells=5, truth="genes"
    ),
}


def signal() -> dict[str, float]:
    """Return what the responses of a preset are like."""
    simulated = simulate(preset("four_contexts"), np.random.default_rng(0))
    truth, world = simulated.responses, simulated.world
    delta = truth.delta_cg()
    name = truth.conditions["perturbation"].to_numpy().astype(str)
    rows = np.flatnonzero(~truth.is_control)
    own = world.genes.encode(name[rows])
    delta[rows, own] = 0
    one = rows[truth.contexts[rows] == "line1"]
    two = truth.find([truth.keys[i].replace("line1", "line2") for i in one])
    size = np.linalg.norm(delta[one], axis=1)
    strong = size > 0.5
    across = [np.corrcoef(a, b)[0, 1]
              for a, b in zip(delta[one][strong], delta[two][strong], strict=True)]  # fmt: skip
    alike = np.corrcoef(delta[one][strong])
    module = world.network.module[world.genes.encode(name[one][strong])]
    same, off = module[:, None] == module, ~np.eye(len(module), dtype=bool)
    return {
        "perturbations": len(one),
        "share with an effect beyond the target (norm above 0.5)": float(strong.mean()),
        "median genes moved by more than 0.2 among them": float(
            np.median((np.abs(delta[one][strong]) > 0.2).sum(1))
        ),
        "median correlation of a response between two contexts": float(np.median(across)),
        "mean correlation of responses within a module": float(alike[same & off].mean()),
        "mean correlation of responses between modules": float(alike[~same].mean()),
    }


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args(argv).repeats
    results: dict[str, dict] = {"seconds": {}, "signal": signal()}
    for name, config in CASES.items():
        times = []
        for seed in range(repeats):
            start = time.perf_counter()
            simulated = simulate(config, np.random.default_rng(seed))
            times.append(time.perf_counter() - start)
        results["seconds"][name] = {
            "fastest": round(min(times), 2), "slowest": round(max(times), 2), "n": repeats,
            "cells": simulated.screen.adata.n_obs, "truths": len(simulated.responses.keys),
        }  # fmt: skip
    print(json.dumps(results, indent=2))
    return results


if __name__ == "__main__":
    main()
