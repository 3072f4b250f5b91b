"""Baselines and models on OP3: compounds held out in one cell type, in all, or a whole cell type.

Data: Open Problems 2023 signed ranks, 135 compounds x B, NK, T x 6,349 genes, given by --data or
below PERTURBKIT_DATA or ../shared/data. Splits: seed s holds out the first 34 compounds of
`default_rng(s).permutation(135)`, in one cell type (`pair`, each in turn) or in all (`compound`);
`cell_type` holds out all compounds of one cell type. Score: Pearson over genes between predicted
and measured signed ranks of each held-out profile, averaged. Intervals: 95 %, bootstrap over
compounds (a compound drawn brings all its held-out profiles), paired between models.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.data.profiles import responses_of
from perturbkit.data.screens import open_screen
from perturbkit.metrics.pearson import pearson_rows
from perturbkit.models import MODELS
from perturbkit.models.card import ModelCard
from perturbkit.train.config import TrainConfig
from perturbkit.train.profiles import FitData, MemberPlan, fit_member

FILE = "op3/op3_signed_ranks_B_NK_T.npz"
N_HELD_OUT = 34
PLAIN = {"directions": None, "ridges": [0.3], "share": 0.2}
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "no_change": ("no_change", {}),
    "context_mean": ("context_mean", {}),
    "mean_delta": ("mean_delta", {}),
    "plain kernel ridge + 0.2 deviation": ("cross_context_ridge", PLAIN),
    "all directions, penalty and share chosen": ("cross_context_ridge", {"directions": None}),
    "cross_context_ridge": ("cross_context_ridge", {}),
    "cross_context_stack": ("cross_context_stack", {}),
    "lpm": ("lpm", {}),
}


def read(path: str | None) -> Responses:
    """Return the screen, cell type by cell type, compounds in the order of the file."""
    folder = os.environ.get("PERTURBKIT_DATA", Path(__file__).parents[2] / "shared" / "data")
    file = Path(path or Path(folder) / FILE)
    truth = responses_of(open_screen(file))
    with np.load(file) as archive:
        n_compounds = len(archive["compounds"])
        order = [str(t) for t in archive["cell_types"]]
        compounds = list(archive["compounds"])
    from perturbkit.core.condition import Condition

    keys = [Condition(targets=(str(c),), context=t).key for t in order for c in compounds]
    found = truth.at(keys)
    assert found.conditions.height == len(order) * n_compounds
    return found


def folds(task: str, n_contexts: int, n_compounds: int, n_seeds: int) -> Iterator[np.ndarray]:
    """Yield the positions held out in each fold."""
    cells = np.arange(n_contexts * n_compounds).reshape(n_contexts, n_compounds)
    if task == "cell_type":
        yield from cells
        return
    for seed in range(n_seeds):
        gone = np.sort(np.random.default_rng(seed).permutation(n_compounds)[:N_HELD_OUT])
        if task == "compound":
            yield cells[:, gone].ravel()
        else:
            yield from cells[:, gone]


def run_task(
    truth: Responses, task: str, contenders: dict[str, tuple[str, dict[str, Any]]], n_seeds: int
) -> dict[str, Any]:
    """Fit and score every contender on every fold; tell on stderr how far it is after each."""
    n_contexts = len(set(truth.contexts))
    n_compounds = truth.conditions.height // n_contexts
    scores: dict[str, list[np.ndarray]] = {name: [] for name in contenders}
    seconds = dict.fromkeys(contenders, 0.0)
    held = list(folds(task, n_contexts, n_compounds, n_seeds))
    for fold, test in enumerate(held, 1):
        rest = np.setdiff1d(np.arange(truth.conditions.height), test)
        train, asked = truth.select(rest), truth.conditions[test]
        for name, (kind, settings) in contenders.items():
            card = MODELS[kind]
            started = time.process_time()
            model = fitted(card, card.config.parse(settings), train, name)
            seconds[name] += time.process_time() - started
            predicted = model.predict(asked).mean_cg
            scores[name].append(np.nan_to_num(pearson_rows(truth.mean_cg[test], predicted)))
        means = {name: round(float(parts[-1].mean()), 4) for name, parts in scores.items()}
        said = {"task": task, "fold": fold, "of": len(held), "means": means}
        said["cpu_seconds"] = {name: round(s / fold, 2) for name, s in seconds.items()}
        print(json.dumps(said), file=sys.stderr, flush=True)
        if fold % n_contexts == 0 and fold < len(held):
            so_far = pooled(task, truth, held[:fold], scores, seconds)
            print(json.dumps({task: so_far}), file=sys.stderr, flush=True)
    return pooled(task, truth, held, scores, seconds)


def pooled(
    task: str,
    truth: Responses,
    held: list[np.ndarray],
    scores: dict[str, list[np.ndarray]],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Return the table of the folds done so far."""
    rows = np.concatenate(held)
    joined = {name: np.concatenate(parts) for name, parts in scores.items()}
    n_compounds = truth.conditions.height // len(set(truth.contexts))
    table = summarize(joined, rows % n_compounds, truth.contexts[rows], named_rng(0, task))
    for name, line in table.items():
        line["cpu_seconds_per_fit"] = round(seconds[name] / len(held), 3)
    return {"n_folds": len(held), "n_profiles": len(rows), "models": table}


def fitted(card: ModelCard, config: Any, train: Responses, name: str) -> Any:
    """Fit on all of `train`: what a network keeps from itself to stop on, it gets back."""
    if not card.trained:
        return card.model.fit(config, train, None, named_rng(0, name))
    plan = MemberPlan(card, config, TrainConfig(**card.train), seed=0, member=0)
    return fit_member(plan, FitData(train, None, None), None, None)


def summarize(
    scores: dict[str, np.ndarray],
    compound_q: np.ndarray,
    context_q: np.ndarray,
    rng: np.random.Generator,
    n_draws: int = 2000,
) -> dict[str, dict[str, Any]]:
    """Mean, interval, paired difference to each other model, and mean of each cell type."""
    n = int(compound_q.max()) + 1
    draws = rng.multinomial(n, np.full(n, 1 / n), n_draws)
    size = draws @ np.bincount(compound_q, minlength=n)

    def drawn(score_q: np.ndarray) -> np.ndarray:
        return draws @ np.bincount(compound_q, score_q, minlength=n) / size

    table = {}
    for name, score in scores.items():
        low, high = np.quantile(drawn(score), [0.025, 0.975])
        minus = {}
        for other, its in scores.items():
            if other != name:
                gap = score - its
                ends = np.quantile(drawn(gap), [0.025, 0.975])
                minus[other] = [round(float(v), 4) for v in (gap.mean(), *ends)]
        table[name] = {
            "mean": round(float(score.mean()), 4),
            "interval": [round(float(low), 4), round(float(high), 4)],
            "by_cell_type": {
                str(c): round(float(score[context_q == c].mean()), 4) for c in np.unique(context_q)
            },
            "minus": minus,
        }
    return table


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the tasks and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="the npz file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--tasks", nargs="+", default=["pair", "compound", "cell_type"])
    args = parser.parse_args(argv)
    truth = read(args.data)
    contenders = {name: CONTENDERS[name] for name in args.models}
    result = {task: run_task(truth, task, contenders, args.seeds) for task in args.tasks}
    print(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
