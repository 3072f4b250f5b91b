"""The demo: the main job, end to end, on a simulated screen whose truth is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from perturbkit.core.condition import Condition, condition_table
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.core.screen import Screen
from perturbkit.data.simulate import Simulated, SimulationConfig, preset, simulate
from perturbkit.data.splits import Split
from perturbkit.design.suggest import suggest
from perturbkit.grn.evaluate import against_truth
from perturbkit.grn.explain import explain
from perturbkit.grn.export import save_graph
from perturbkit.models import MODELS
from perturbkit.recipes import verbs
from perturbkit.recipes.tables import write_table

N_NEXT = 8
"""How many experiments the demo suggests."""
SURROGATE = "bilinear_ridge"
"""The model that predicts genes never perturbed when the demo chooses among them."""
MAX_FDR = 0.1
"""Edges are kept up to this false discovery rate."""


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo leaves besides the run."""

    run: Run
    settings: SimulationConfig

    def world(self) -> Simulated:
        """Return the screen the run was fitted on, with its truth."""
        seed = int(self.run.config["seed"])
        return simulate(self.settings, named_rng(seed, "screen", "simulated"))


def fit(out: Path, *, force: bool, seed: int = 0, watch: verbs.Watch | None = None) -> Demo:
    """Simulate the demo's screen and fit an ensemble of three LPMs and every baseline to it."""
    settings = preset("demo")
    recipe: dict[str, Any] = {
        "seed": seed,
        "n_members": 3,
        "screen": {"source": "simulated", "options": settings.plain()},
        "model": {"kind": "lpm"},
    }
    return Demo(verbs.fit(recipe, out=out, force=force, watch=watch), settings)


def questions(screen: Screen) -> pl.DataFrame:
    """Return conditions that show each status: a pair, a combination, a gene never perturbed."""
    context = screen.contexts[0]
    targets = list(screen.targets)
    unseen = next(g for g in screen.readouts if g not in screen.targets)
    notations = [targets[0], f"{targets[0]}+{targets[1]}", unseen, "NOTAGENE"]
    return condition_table(Condition.parse(n, context=context) for n in notations)


def infer_network(demo: Demo, world: Simulated) -> tuple[Graph, dict[str, float]]:
    """Infer the network, write grn.tsv, and judge it against the true one."""
    rng = named_rng(int(demo.run.config["seed"]), "explain")
    graph = explain(world.screen, rng=rng)
    found = graph.select(graph.columns["fdr"] <= MAX_FDR)
    save_graph(found, demo.run.path / "grn.tsv")
    regulators = [t for t in world.screen.targets if t in world.screen.readouts]
    verdict = against_truth(graph, world.graph, sources=regulators, max_fdr=MAX_FDR)
    return found, verdict


def next_experiments(demo: Demo, world: Simulated) -> pl.DataFrame:
    """Choose what to perturb next among the genes never perturbed, and write next_batch.csv.

    The bilinear ridge predicts them: it ties a gene's own readout to what perturbing it does, and
    so tells genes apart that the LPM, in a split of pairs, has never learned to tell apart.
    """
    truth = Responses.load(demo.run.path / "truth.parquet")
    split = Split.load(demo.run.path / "split.parquet")
    rng = named_rng(int(demo.run.config["seed"]), "design")
    card = MODELS[SURROGATE]
    train = truth.select(split.rows(truth, "train"))
    model = card.model.fit(card.config(), train, None, rng)
    context = world.screen.contexts[0]
    unseen = [g for g in world.screen.readouts if g not in world.screen.targets]
    kind = str(world.screen.conditions["kind"][-1])
    asked = condition_table(Condition.parse(g, context=context, kind=kind) for g in unseen)
    predicted = model.predict(asked)
    change = predicted.values - truth.control_of([context])
    relative = Responses(change, predicted.conditions, predicted.readouts, "log2fc")
    table = suggest(relative, min(N_NEXT, len(unseen)), rng, policy="greedy")
    write_table(table, demo.run.path / "next_batch.csv")
    return table
