"""STATE's two models: contexts, perturbations and cells never seen; ablation; speed and memory.

python -m benchmarks.state [transfer[:CASE]] [ablation[:CASE]] [folds[:CASE]] [few_shot] [masked]
    [speed] [memory] [published]

Simulated: preset `four_contexts` (300 genes, 100 knock-downs, 4 contexts of 50 cells each), seeds
0 and 1; the network is the true one. Papalexi and perturbench_devel with STRING. Scores are of the
measured means of held-out conditions; intervals are 95 %, bootstrap over perturbations, paired.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from benchmarks.knowledge_effects import data_folder

from perturbkit.core.condition import condition_keys
from perturbkit.core.features import Features
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import half_of_cells, responses_of
from perturbkit.data.screens import open_screen
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.splits import SplitConfig, make_split
from perturbkit.data.store import CellStore, store_of
from perturbkit.genes.embed import embed
from perturbkit.graphs.algebra import align
from perturbkit.graphs.controls import rewire, without_edges
from perturbkit.graphs.read import read_graph
from perturbkit.metrics.bootstrap import draw_weights, interval
from perturbkit.metrics.cells.clouds import energy
from perturbkit.metrics.score import score
from perturbkit.models import MODELS
from perturbkit.models.relative_effects import RelativeEffects, RelativeEffectsConfig
from perturbkit.models.state_transition import StateTransition, StateTransitionConfig, card
from perturbkit.recipes.side_information import fit_data
from perturbkit.train.cell_batches import CellSource
from perturbkit.train.cells import cell_data, validation_of
from perturbkit.train.config import TrainConfig
from perturbkit.train.loop import Hooks, train
from perturbkit.train.profiles import FitData

METRICS = ("pearson_delta", "discrimination_cosine", "rmse")
BASELINES = ("no_change", "context_mean", "mean_delta", "cross_context_ridge")
EPOCHS = 3


@dataclass(frozen=True, eq=False)
class Case:
    """A screen, what is held out, and a network of its genes."""

    name: str
    truth: Responses
    data: FitData
    test: Responses
    graphs: dict[str, Graph]


def case(name: str, screen: Any, split: SplitConfig, graphs: Mapping[str, Graph]) -> Case:
    truth = responses_of(screen)
    made = make_split(truth.conditions, split, named_rng(0, "split"))
    data = fit_data(truth, made, "none", named_rng(0, "features"), store_of(screen))
    return Case(name, truth, data, truth.select(made.rows(truth, "test")), dict(graphs))


def simulated(seed: int, kind: str, context: str = "line1") -> Case:
    made = simulate(preset("four_contexts"), named_rng(seed, "state"))
    contexts = (context,) if kind == "unseen_context" else ()
    split = SplitConfig(kind=kind, contexts=contexts)
    return case(f"simulated {seed}, {kind} {context if contexts else ''}".strip(), made.screen,
                split, {"true network": made.graph})  # fmt: skip


def opened(name: str) -> tuple[Screen, dict[str, Graph]]:
    """Return a real screen, and STRING among its genes."""
    files = {"papalexi2021": "papalexi2021/papalexi2021_eccite_299genes.h5ad",
             "perturbench_devel": "perturbench_devel/devel.h5ad"}  # fmt: skip
    unit = "log1p_cp10k" if name == "perturbench_devel" else None
    screen = open_screen(str(data_folder() / files[name]), unit=unit)
    graph = read_graph("string", data_folder() / "graphs")
    names = {*screen.readouts, *screen.targets}
    return screen, {"string": align(graph, [n for n in graph.nodes if n in names])}


def real(name: str, kind: str) -> Case:
    screen, graphs = opened(name)
    return case(f"{name}, {kind}", screen, SplitConfig(kind=kind), graphs)


def fitted(of: Case, graphs: Mapping[str, Graph], features: Features | None = None,
           **settings: Any) -> StateTransition:  # fmt: skip
    """Train the transition model as `perturbkit fit` does, with networks from memory."""
    schedule = TrainConfig.parse({**card.train, "n_epochs": EPOCHS})
    config = StateTransitionConfig.parse(settings)
    cells = of.data.cells
    assert cells is not None
    model = StateTransition.build(config, cells, features, named_rng(0, "build"), graphs=graphs)
    rows = model.encode(cells.store.conditions)
    source = CellSource(cells.store, cells.train_n, rows, card, schedule, 1)
    validate = validation_of(model, cells, source, named_rng(0, "validation"))
    train(model, source, schedule, named_rng(0, "train"), Hooks(validate=validate))
    return model.eval()


def paired(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return the mean of a - b and its interval; nothing where no condition has both."""
    kept = ~np.isnan(a - b)
    if not kept.any():
        return []
    weights = draw_weights(labels[kept], 1000, named_rng(0, "bootstrap"))
    low, high = interval((a - b)[kept, None], weights, 0.95)[:, 0]
    return [round(float(v), 4) for v in ((a - b)[kept].mean(), low, high)]


def closed(of: Case, name: str) -> Responses | None:
    from perturbkit.core.errors import PerturbkitError

    model = MODELS[name]
    try:
        made = model.model.fit(model.config(), of.data.train, None, named_rng(0, name))
        return made.predict(of.test.conditions)
    except PerturbkitError:
        return None


def scored(of: Case, predictions: dict[str, Responses]) -> dict[str, dict[str, np.ndarray]]:
    kept = np.flatnonzero(np.isin(of.truth.keys, of.test.keys) | of.truth.is_control)
    result = score(of.truth.select(kept), predictions, train=of.data.train,
                   metrics=list(METRICS), rng=named_rng(0, "score"), n_bootstrap=100)  # fmt: skip
    names = result.scored["perturbation"].to_numpy().astype(str)
    return {"labels": {"": names}} | {
        m: {model: result.values[model, m] for model in result.models} for m in METRICS
    }


def versus(
    of: Case, made: dict[str, Responses]
) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Return mean scores and paired differences, and the score of each condition."""
    found = scored(of, made)
    labels = found["labels"][""]
    row: dict[str, Any] = {"case": of.name, "n": len(of.test.keys)}
    for metric in METRICS:
        ours = found[metric]["state_transition"]
        row[metric] = {m: round(float(np.nanmean(v)), 4) for m, v in found[metric].items()}
        row[f"{metric}, state_transition minus"] = {
            m: paired(ours, found[metric][m], labels) for m in made if m != "state_transition"
        }
    return row, found


def energies(of: Case, model: Any, store: CellStore | None = None, n: int = 100) -> np.ndarray:
    """Energy distance of predicted from measured cells of each held-out condition.

    Args:
        of: what is held out.
        model: a model of cells, or the cells of each condition.
        store: the measured cells, by default those of the case.
        n: cells to predict of each condition.
    """
    assert of.data.cells is not None
    store = store or of.data.cells.store
    code = {k: i for i, k in enumerate(condition_keys(store.conditions))}
    cells = model if isinstance(model, list) else model.predict_cells(
        of.test.conditions, n, named_rng(0, "cells")).x  # fmt: skip
    found = np.full(len(of.test.keys), np.nan)
    for i, key in enumerate(of.test.keys):
        rows = np.flatnonzero(store.arrays["condition"] == code[key])
        x = cells[i]
        if x is not None:
            found[i] = energy(store.dense(rows, log=store.unit == "counts"), x)
    return found


def drawn(of: Case, model: StateTransition, store: CellStore | None = None) -> dict[str, Any]:
    """Return `energies` of the model's cells by decoder and by the control cells it starts from."""
    found, settings = {}, model.config
    for decoder, draw in (("counts", "random"), ("moved", "random"), ("moved", "representative")):
        model.config = settings.replace(decoder=decoder, draw=draw)
        found[f"{decoder}, {draw}"] = energies(of, model, store)
    model.config = settings
    return found


KINDS = ("unseen_context", "unseen_pair", "unseen_perturbation")
SCREENS = ("papalexi2021", "perturbench_devel")
REAL = [partial(real, name, "unseen_perturbation") for name in SCREENS]
TRANSFER = [*(partial(simulated, s, k) for s in (0, 1) for k in KINDS), *REAL]
ABLATION = [partial(simulated, 0, KINDS[2]), partial(simulated, 1, KINDS[2]),
            partial(simulated, 0, KINDS[0]), *REAL]  # fmt: skip


def transfer(chosen: slice) -> None:
    """Contexts, pairs and perturbations never seen, against the simple baselines; cells."""
    for open_case in TRANSFER[chosen]:
        of = open_case()
        model = fitted(of, of.graphs)
        made: dict[str, Responses] = {"state_transition": model.predict(of.test.conditions)}
        plain = RelativeEffects.with_graphs(RelativeEffectsConfig(), of.data.train, of.graphs)
        made["closed form alone"] = plain.predict(of.test.conditions)
        made |= {n: p for n in BASELINES if (p := closed(of, n)) is not None}
        row, found = versus(of, made)
        labels = found["labels"][""]
        shifted, base = MODELS["shifted_controls"], "mean_delta"
        base = base if base in made else "context_mean"
        other = shifted.model.fit(
            shifted.config(base=base), of.data.cells, None, named_rng(0, "shifted")
        )
        far = {"control cells + mean delta": energies(of, other)} | drawn(of, model)
        change = made[base].mean_cg - of.data.train.control_of(of.test.contexts)
        far["representative control cells + mean delta"] = energies(of, [
            np.maximum(other.controls.representative(c, 100, named_rng(0, "near")) + d, 0)
            for c, d in zip(of.test.contexts.tolist(), change, strict=True)
        ])  # fmt: skip
        row["energy distance"] = {k: round(float(np.nanmean(v)), 4) for k, v in far.items()}
        row["energy distance, control cells + mean delta minus"] = {
            k: paired(far["control cells + mean delta"], far[k], labels) for k in list(far)[1:]
        }
        row["representative control cells + mean delta minus moved, representative"] = paired(
            far["representative control cells + mean delta"], far["moved, representative"], labels
        )
        print(json.dumps(row), flush=True)


def seen(chosen: slice) -> None:
    """Cells of perturbations that were seen: trained on half of the cells, tested on the others.

    The baseline is control cells plus the perturbation's own mean delta, measured on the same half.
    """
    screens = {
        "simulated 0": simulate(preset("four_contexts"), named_rng(0, "state")).screen,
        "papalexi2021": open_screen(
            str(data_folder() / "papalexi2021/papalexi2021_eccite_299genes.h5ad")
        ),
    }
    for name, screen in list(screens.items())[chosen]:
        codes, batch = screen.row_codes(), screen.adata.obs["batch"].cat.codes.to_numpy()
        half = half_of_cells(codes, batch.astype(np.int64), named_rng(0, "cells in halves"))
        sides = [Screen(screen.adata[half == h], "cells", screen.unit) for h in range(2)]
        truth, store = responses_of(sides[0]), store_of(sides[0])
        cells = cell_data(store, truth, (), named_rng(0, "features"))
        data = FitData(truth, None, None, cells)
        others = truth.select(~truth.is_control)
        of = Case(name, truth, data, others, {})
        model = fitted(of, {})
        change = truth.delta_cg()[~truth.is_control]
        controls = {c: model.controls.draw(c, 100, named_rng(0, "shift")) for c in model.contexts}
        near = {c: model.controls.representative(c, 100, named_rng(0, "near"))
                for c in model.contexts}  # fmt: skip
        plain, same_cells = (
            [np.maximum(start[str(c)] + d, 0) for c, d in zip(others.contexts, change, strict=True)]
            for start in (controls, near)
        )
        against = store_of(sides[1])
        far = {"control cells + own mean delta": energies(of, plain, against)}
        far["representative control cells + own mean delta"] = energies(of, same_cells, against)
        far |= drawn(of, model, against)
        far["the training half itself"] = energies(of, own_cells(of, store), against)
        names = others.conditions["perturbation"].to_numpy().astype(str)
        print(json.dumps({
            "case": f"{name}, seen, other half of the cells", "n": len(names),
            "energy distance": {k: round(float(np.nanmean(v)), 4) for k, v in far.items()},
            "control cells + own mean delta minus": {
                k: paired(far["control cells + own mean delta"], v, names)
                for k, v in list(far.items())[1:]},
            "representative control cells + own mean delta minus moved, representative": paired(
                far["representative control cells + own mean delta"],
                far["moved, representative"], names),
        }), flush=True)  # fmt: skip


def own_cells(of: Case, store: CellStore) -> list[np.ndarray]:
    code = {k: i for i, k in enumerate(condition_keys(store.conditions))}
    found = []
    for key in of.test.keys:
        rows = np.flatnonzero(store.arrays["condition"] == code[key])[:100]
        found.append(store.dense(rows, log=store.unit == "counts"))
    return found


def sequence_like(screen_graph: Graph, rng: np.random.Generator) -> Features:
    """Return noisy vectors that say some of what a gene does, as a protein's sequence does.

    Half of the variance is the spectral embedding of the true network, half is noise.
    """
    real_part = embed("spectral", screen_graph, rng, width=32)
    values = real_part.values / max(float(real_part.values.std()), 1e-9)
    return Features(real_part.names, values + rng.normal(size=values.shape), "sequence-like")


def ablation(chosen: slice) -> None:
    """What the model knows of genes: features, the network, a rewired, an empty one, nothing."""
    for open_case in ABLATION[chosen]:
        of = open_case()
        (name, graph), *_ = of.graphs.items()
        rng = named_rng(0, "ablation", of.name)
        arms: dict[str, tuple[dict[str, Graph], Features | None]] = {
            "real": (of.graphs, None),
            "rewired": ({name: rewire(graph, rng)}, None),
            "empty": ({name: without_edges(graph)}, None),
            "one-hot": ({}, None),
            "sequence-like": ({}, sequence_like(graph, rng)),
        }
        made = {k: fitted(of, g, f).predict(of.test.conditions) for k, (g, f) in arms.items()}
        found = scored(of, made)
        row: dict[str, Any] = {"case": of.name, "n": len(of.test.keys)}
        for metric in METRICS[:2]:
            values = found[metric]
            row[metric] = {k: round(float(np.nanmean(values[k])), 4) for k in made}
            row[f"{metric}, real minus"] = {
                k: paired(values["real"], values[k], found["labels"][""])
                for k in made if k != "real"
            }  # fmt: skip
        print(json.dumps(row), flush=True)


def main(chosen: list[str]) -> None:
    from benchmarks import state_cells, state_few_shot, state_folds

    parts = {"masked": state_cells.masked, "speed": state_cells.speed,
             "memory": state_cells.memory, "published": state_cells.published,
             "few_shot": state_few_shot.few_shot,
             "op3": lambda: print(json.dumps(state_folds.op3()))}  # fmt: skip
    for part in chosen or [*parts, "seen", "transfer", "ablation", "folds"]:
        name, _, number = part.partition(":")
        print(json.dumps({"part": part}), flush=True)
        one = slice(int(number), int(number) + 1) if number else slice(None)
        if name in parts:
            parts[name]()
        else:
            {"transfer": transfer, "ablation": ablation, "seen": seen,
             "folds": state_folds.folds}[name](one)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
