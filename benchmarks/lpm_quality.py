"""The LPM beside additive and kNN where these are strong, and whether its intervals hold.

Tasks: unseen combinations (perturbench_devel K562, simulated CRISPRa), unseen genes (both; features
of STRING for real genes, loadings for simulated ones), unseen pairs (OP3, simulated). Each run is
`perturbkit fit` with its defaults; scores are means over the held-out conditions of all seeds,
differences are paired by condition, intervals are 95 %, bootstrap over perturbations. Coverage is
of the nominal 80 % intervals on the same held-out conditions; calibration error is the mean
over six levels. Settings were not chosen on these conditions.

    python -m benchmarks.lpm_quality [TASK ...] [--seeds 3] [--base auto] [--val 0.1]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.metrics.bootstrap import draw_weights, interval
from perturbkit.recipes import verbs
from perturbkit.recipes.fitted import Fitted
from perturbkit.recipes.judge import calibration_of

METRIC = "pearson_delta"
SIMULATED = {"source": "simulated", "options": {"preset": "combinations"}}
TASKS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "op3_pairs": ({"screen": {"source": "op3"}, "split": {"kind": "unseen_pair"}},
                  ("mean_delta", "cross_context_ridge")),
    "simulated_pairs": ({"screen": {"source": "simulated", "options": {"preset": "four_contexts"}},
                         "split": {"kind": "unseen_pair"}},
                        ("mean_delta", "cross_context_ridge", "relative_effects")),
    "simulated_combinations": ({"screen": SIMULATED, "split": {"kind": "unseen_combination"}},
                               ("additive", "relative_effects")),
    "simulated_genes": ({"screen": {"source": "simulated"},
                         "split": {"kind": "unseen_perturbation"}},
                        ("mean_delta", "knn", "relative_effects")),
    "devel_combinations": ({"screen": {"source": "perturbench_devel"},
                            "split": {"kind": "unseen_combination", "fraction": 0.34}},
                           ("additive", "relative_effects")),
    "devel_genes": ({"screen": {"source": "perturbench_devel"}, "features": "spectral:string",
                     "split": {"kind": "unseen_perturbation"}},
                    ("mean_delta", "knn", "relative_effects")),
}  # fmt: skip


def run_task(
    name: str, seeds: int, folder: Path, base: str, val: float
) -> Iterator[dict[str, Any]]:
    """Fit and score seed after seed; yield what is known after each, pooled over conditions."""
    settings, rivals = TASKS[name]
    settings = settings | {"split": {**settings["split"], "val": val}}
    values: dict[str, list[np.ndarray]] = {}
    groups: list[str] = []
    gaps, bases, started = [], [], time.process_time()
    for seed in range(seeds):
        recipe = {"seed": seed, "model": {"kind": "lpm", "base": base},
                  "score": {"baselines": list(rivals)}, **settings}  # fmt: skip
        run = verbs.fit(recipe, out=folder / str(seed))
        scores = verbs.score(run, metrics=[METRIC])
        for model in scores.models:
            values.setdefault(model, []).append(scores.values[model, METRIC])
        groups += scores.scored["perturbation"].to_list()
        bases.append(chosen_base(run))
        table = calibration_of(run)
        if table is not None:
            at = dict(zip(table["level"], table["coverage"], strict=True))
            gaps.append((at[0.8], table["expected_calibration_error"][0], len(scores.scored)))
        whole = {m: np.concatenate(v) for m, v in values.items() if len(v) == seed + 1}
        yield {
            "seeds": seed + 1,
            **summary(whole, groups, [r for r in rivals if r in whole]),
            **coverage(gaps),
            "bases": bases,
            "cpu_seconds": round(time.process_time() - started, 1),
        }


def chosen_base(run: Run) -> str:
    """Name the closed form under the network, and the one for combinations where there is one."""
    base = Fitted.open(run).members[0].base
    other = base.for_combinations
    return base.kind if other is None else f"{base.kind}; combinations: {other.kind}"


def summary(whole: dict[str, np.ndarray], groups: list[str], rivals: list[str]) -> dict[str, Any]:
    """Return means and paired differences to each rival, with their intervals."""
    columns = whole | {f"lpm - {rival}": whole["lpm"] - whole[rival] for rival in rivals}
    matrix = np.column_stack([*columns.values()])
    weights = draw_weights(groups, 2000, named_rng(0, "bootstrap"))
    low, high = interval(matrix, weights, 0.95)
    rows = {
        name: [round(float(v), 4) for v in (np.nanmean(matrix[:, i]), low[i], high[i])]
        for i, name in enumerate(columns)
    }
    answered = {r: int(np.isfinite(whole[r]).sum()) for r in whole}
    return {"n": len(groups), "answered": answered, METRIC: rows}


def coverage(gaps: list[tuple[float, float, int]]) -> dict[str, Any]:
    """Return the coverage of the 80 % intervals, pooled and of each seed."""
    if not gaps:
        return {}
    inside, error, n = np.array(gaps).T
    return {"coverage_80": round(float(inside @ n / n.sum()), 4),
            "coverage_80_of_seeds": [round(float(x), 4) for x in inside],
            "calibration_error": round(float(error @ n / n.sum()), 4)}  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the tasks and print a line of JSON after each seed; return the last line of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", default="auto", help="the closed form under the network")
    parser.add_argument("--val", type=float, default=0.1, help="share of conditions to validate")
    options = parser.parse_args(argv)
    result = {}
    for name in options.tasks or list(TASKS):
        with tempfile.TemporaryDirectory() as folder:
            for known in run_task(name, options.seeds, Path(folder), options.base, options.val):
                result[name] = known
                print(json.dumps({name: known}), flush=True)
    return result


if __name__ == "__main__":
    main()
