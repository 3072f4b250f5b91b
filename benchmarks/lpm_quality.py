"""The LPM beside additive and kNN where these are strong, and whether its intervals hold.

Tasks: unseen combinations (perturbench_devel K562, simulated CRISPRa), unseen genes (both; features
of STRING for real genes, loadings for simulated ones), unseen pairs (OP3, simulated). Each run is
`perturbkit fit` with its defaults; scores are means over the held-out conditions of all seeds,
differences are paired by condition, intervals are 95 %, bootstrap over perturbations. Coverage is
of the nominal 80 % intervals on the same held-out conditions; calibration error is the mean
over six levels. Settings were not chosen on these conditions.

    python -m benchmarks.lpm_quality [TASK ...] [--seeds 3]
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.rng import named_rng
from perturbkit.metrics.bootstrap import draw_weights, interval
from perturbkit.recipes import verbs
from perturbkit.recipes.judge import calibration_of

METRIC = "pearson_delta"
SIMULATED = {"source": "simulated", "options": {"preset": "combinations"}}
TASKS: dict[str, tuple[dict[str, Any], str]] = {
    "op3_pairs": ({"screen": {"source": "op3"}, "split": {"kind": "unseen_pair"}},
                  "cross_context_ridge"),
    "simulated_pairs": ({"screen": {"source": "simulated", "options": {"preset": "four_contexts"}},
                         "split": {"kind": "unseen_pair"}}, "cross_context_ridge"),
    "simulated_combinations": ({"screen": SIMULATED, "split": {"kind": "unseen_combination"}},
                               "additive"),
    "simulated_genes": ({"screen": {"source": "simulated"},
                         "split": {"kind": "unseen_perturbation"}}, "knn"),
    "devel_combinations": ({"screen": {"source": "perturbench_devel"},
                            "split": {"kind": "unseen_combination", "fraction": 0.34}},
                           "additive"),
    "devel_genes": ({"screen": {"source": "perturbench_devel"}, "features": "spectral:string",
                     "split": {"kind": "unseen_perturbation"}}, "knn"),
}  # fmt: skip


def run_task(settings: dict[str, Any], rival: str, seeds: int, folder: Path) -> dict[str, Any]:
    """Fit and score every seed; pool the held-out conditions."""
    values: dict[str, list[np.ndarray]] = {}
    groups, gaps = [], []
    for seed in range(seeds):
        recipe = {"seed": seed, "model": {"kind": "lpm"}, **settings}
        run = verbs.fit(recipe, out=folder / str(seed))
        scores = verbs.score(run, metrics=[METRIC])
        for model in scores.models:
            values.setdefault(model, []).append(scores.values[model, METRIC])
        groups += scores.scored["perturbation"].to_list()
        table = calibration_of(run)
        if table is not None:
            at = dict(zip(table["level"], table["coverage"], strict=True))
            gaps.append((at[0.8], table["expected_calibration_error"][0], len(scores.scored)))
    whole = {m: np.concatenate(v) for m, v in values.items() if len(v) == seeds}
    return summary(whole, groups, rival) | coverage(gaps)


def summary(whole: dict[str, np.ndarray], groups: list[str], rival: str) -> dict[str, Any]:
    names = list(whole)
    gap = whole["lpm"] - whole[rival]
    matrix = np.column_stack([*whole.values(), gap])
    weights = draw_weights(groups, 2000, named_rng(0, "bootstrap"))
    low, high = interval(matrix, weights, 0.95)
    rows = {
        name: [round(float(v), 4) for v in (np.nanmean(matrix[:, i]), low[i], high[i])]
        for i, name in enumerate([*names, f"lpm - {rival}"])
    }
    return {"n": len(groups), METRIC: rows}


def coverage(gaps: list[tuple[float, float, int]]) -> dict[str, Any]:
    if not gaps:
        return {}
    inside, error, n = np.array(gaps).T
    return {"coverage_80": round(float(inside @ n / n.sum()), 4),
            "calibration_error": round(float(error @ n / n.sum()), 4)}  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the tasks and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(argv)
    result = {}
    for name in options.tasks or list(TASKS):
        settings, rival = TASKS[name]
        with tempfile.TemporaryDirectory() as folder:
            result[name] = run_task(settings, rival, options.seeds, Path(folder))
        print(json.dumps({name: result[name]}), flush=True)
    return result


if __name__ == "__main__":
    main()
