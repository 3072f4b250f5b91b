"""Few-shot contexts: a context of which the controls and k perturbations are trained on.

Run by `benchmarks.state`. The same conditions are tested for every k, so k compare.
"""

import json

import numpy as np
from benchmarks.state import METRICS, Case, closed, fitted, paired, versus

from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.data.profiles import responses_of
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.splits import Split, SplitConfig, make_split
from perturbkit.data.store import store_of
from perturbkit.models.relative_effects import RelativeEffects, RelativeEffectsConfig
from perturbkit.recipes.side_information import fit_data

SHOTS = (0, 5, 20)


def few_shot_case(k: int, seed: int = 0, context: str = "line1") -> Case:
    """`four_contexts` with one context held out but for k perturbations; 80 of 100 are tested."""
    made = simulate(preset("four_contexts"), named_rng(seed, "state"))
    truth = responses_of(made.screen)
    config = SplitConfig(kind="unseen_context", contexts=(context,))
    whole = make_split(truth.conditions, config, named_rng(0, "split"))
    folds = np.array(whole.folds, dtype="<U7")
    spare = named_rng(0, "shots").permutation(np.flatnonzero(folds == "test"))[: max(SHOTS)]
    folds[spare] = "dropped"
    folds[spare[:k]] = "train"
    split = Split(whole.keys, tuple(folds.tolist()))
    data = fit_data(truth, split, "none", named_rng(0, "features"), store_of(made.screen))
    test = truth.select(split.rows(truth, "test"))
    name = f"simulated {seed}, {context} with {k} perturbations"
    return Case(name, truth, data, test, {"true network": made.graph})


def few_shot() -> None:
    """Scores with 0, 5 and 20 perturbations of the new context, against the simple baselines."""
    before: dict[str, np.ndarray] = {}
    for k in SHOTS:
        of = few_shot_case(k)
        plain = RelativeEffects.with_graphs(RelativeEffectsConfig(), of.data.train, of.graphs)
        made: dict[str, Responses] = {
            "state_transition": fitted(of, of.graphs).predict(of.test.conditions),
            "closed form alone": plain.predict(of.test.conditions),
        }
        baselines = ("context_mean", "mean_delta", "cross_context_ridge")
        made |= {n: p for n in baselines if (p := closed(of, n)) is not None}
        row, found = versus(of, made)
        for metric in METRICS:
            ours = found[metric]["state_transition"]
            if metric in before:
                row[f"{metric}, minus the same with 0"] = paired(
                    ours, before[metric], found["labels"][""]
                )
            before.setdefault(metric, ours)
        print(json.dumps(row), flush=True)
