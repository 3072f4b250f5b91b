"""Real screens: every perturbation held out once, in five folds, since one split holds few.

Run by `benchmarks.state`. Papalexi 2021 (25 targets) and perturbench_devel (its single targets and
pairs), STRING. An arm that refuses a condition is scored there as the mean delta, which is what a
user would fall back on; how many it refused is printed.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from benchmarks.knowledge_effects import data_folder
from benchmarks.state import (
    SCREENS,
    Case,
    closed,
    drawn,
    energies,
    fitted,
    opened,
    paired,
    scored,
    sequence_like,
)

from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen
from perturbkit.data.splits import Split, SplitConfig, make_split
from perturbkit.data.store import store_of
from perturbkit.graphs.controls import rewire, without_edges
from perturbkit.metrics.score import score
from perturbkit.models import MODELS
from perturbkit.recipes.side_information import fit_data

N_FOLDS = 5
SCORES = ("pearson_delta", "discrimination_cosine", "rmse")


def cases(name: str) -> Iterator[Case]:
    """Yield the folds: conditions of the same targets stay together, two others validate."""
    screen, graphs = opened(name)
    truth, store = responses_of(screen), store_of(screen)
    names = truth.conditions["perturbation"].to_numpy().astype(str)
    kinds = named_rng(0, "folds", name).permutation(np.unique(names[~truth.is_control]))
    for part in np.array_split(kinds, N_FOLDS):
        rest = np.setdiff1d(kinds, part)
        val = named_rng(0, "validation", str(part[0])).permutation(rest)[:2]
        folds = np.where(
            np.isin(names, part), "test", np.where(np.isin(names, val), "val", "train")
        )
        split = Split(tuple(truth.keys), tuple(folds.tolist()))
        data = fit_data(truth, split, "none", named_rng(0, "features"), store)
        yield Case(name, truth, data, truth.select(split.rows(truth, "test")), graphs)


def arms(of: Case) -> dict[str, tuple[dict[str, Graph], Any]]:
    (name, graph), *_ = of.graphs.items()
    rng = named_rng(0, "ablation", of.name)
    return {"real": (of.graphs, None), "rewired": ({name: rewire(graph, rng)}, None),
            "empty": ({name: without_edges(graph)}, None), "one-hot": ({}, None),
            "sequence-like": ({}, sequence_like(graph, rng))}  # fmt: skip


def instead(made: Responses, fallback: Responses) -> Responses:
    """Return predictions with the fallback's where they are refused."""
    refused = np.isnan(made.mean_cg).any(1)
    values = np.where(refused[:, None], fallback.mean_cg, made.mean_cg)
    table = made.conditions.with_columns(status=fallback.conditions["status"])
    return Responses(values[None].astype(np.float32), table, made.readouts, made.unit)


def folds(chosen: slice) -> None:
    """Scores of each arm and of the mean delta; energy distance of the cells of the real arm."""
    for name in SCREENS[chosen]:
        print(json.dumps(in_folds(name)), flush=True)


def in_folds(name: str) -> dict[str, Any]:
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    labels: list[np.ndarray] = []
    refused: dict[str, int] = {}
    for of in cases(name):
        base = closed(of, "mean_delta")
        assert base is not None
        made = {"mean_delta": base}
        for arm, (graphs, features) in arms(of).items():
            model = fitted(of, graphs, features)
            answer = model.predict(of.test.conditions)
            refused[arm] = refused.get(arm, 0) + int(np.isnan(answer.mean_cg).any(1).sum())
            made[arm] = instead(answer, base)
            if arm == "real":
                far = distances(of, model, base)
        scores = scored(of, made)
        labels.append(scores["labels"][""])
        for metric, by_arm in [*((m, scores[m]) for m in SCORES), ("energy distance", far)]:
            for arm, values in by_arm.items():
                found.setdefault(metric, {}).setdefault(arm, []).append(values)
    return table(name, found, np.concatenate(labels), refused)


def distances(of: Case, model: Any, base: Responses) -> dict[str, np.ndarray]:
    """Return the energy distances of cells; refused conditions get the mean delta's cells."""
    shifted = MODELS["shifted_controls"]
    other = shifted.model.fit(
        shifted.config(base="mean_delta"), of.data.cells, None, named_rng(0, "shifted")
    )
    plain = energies(of, other)
    change = base.mean_cg - of.data.train.control_of(of.test.contexts)
    same_draw = energies(of, [
        np.maximum(other.controls.representative(c, 100, named_rng(0, "near")) + d, 0)
        for c, d in zip(of.test.contexts.tolist(), change, strict=True)
    ])  # fmt: skip
    made = {k: np.where(np.isnan(v), same_draw if "repr" in k else plain, v)
            for k, v in drawn(of, model).items()}  # fmt: skip
    return {"control cells + mean delta": plain,
            "representative control cells + mean delta": same_draw} | made  # fmt: skip


def table(
    name: str, found: dict[str, dict[str, list[np.ndarray]]], labels: np.ndarray,
    refused: dict[str, int],
) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = {"case": f"{name}, each perturbation held out once", "n": len(labels),
                           "refused": refused}  # fmt: skip
    for metric, by_arm in found.items():
        values = {arm: np.concatenate(parts) for arm, parts in by_arm.items()}
        first = "control cells + mean delta" if metric == "energy distance" else "real"
        row[metric] = {arm: round(float(np.nanmean(v)), 4) for arm, v in values.items()}
        row[f"{metric}, {first} minus"] = {
            arm: paired(values[first], v, labels) for arm, v in values.items() if arm != first
        }
        if metric == "energy distance":
            row["the same representative cells: mean delta minus moved"] = paired(
                values["representative control cells + mean delta"],
                values["moved, representative"], labels,
            )  # fmt: skip
    return row


def op3() -> dict[str, Any]:
    """Profiles alone, no genes perturbed: only compounds' fingerprints could be knowledge."""
    screen = open_screen(str(data_folder() / "op3/op3_signed_ranks_B_NK_T.npz"))
    truth = responses_of(screen)
    split = make_split(truth.conditions, SplitConfig(kind="unseen_pair"), named_rng(0, "split"))
    train_rows, test = truth.select(split.rows(truth, "train")), truth.select(
        split.rows(truth, "test"))  # fmt: skip
    made = {}
    for name in ("mean_delta", "cross_context_ridge", "relative_effects"):
        model = MODELS[name]
        fit = model.model.fit(model.config(), train_rows, None, named_rng(0, name))
        made[name] = fit.predict(test.conditions)
    result = score(test, made, train=train_rows, metrics=["pearson"],
                   rng=named_rng(0, "score"), n_bootstrap=100)  # fmt: skip
    return {"case": "op3, unseen_pair, profiles (drugs have no edges: no network arm)",
            "n": len(test.keys),
            "pearson": {m: round(float(np.nanmean(result.values[m, "pearson"])), 4)
                        for m in made}}  # fmt: skip
