"""The autoencoders of cells: networks of GPO-VAE, speed, and finite numbers.

Data: simulator preset `planted_edges` (5,000 cells x 1,000 genes x 100 perturbations, about 1,000
counts a cell). Split: none, the truth is known; `benchmarks.vae_effects` scores held-out cells.
RECALIBRATION of the calibrated head is learned on seeds 10 to 29 (`--only recalibrate --seeds 10 11
...`); of its other settings HIDDEN was chosen on seeds 1 and 2.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from benchmarks.explain import planted_world, scored_mean_difference
from benchmarks.reliability import reliability, true_pairs

from perturbkit.core.errors import DivergedError
from perturbkit.core.rng import named_rng
from perturbkit.core.screen import Screen
from perturbkit.data.profiles import responses_of
from perturbkit.data.recalibration import Recalibration
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.store import store_of
from perturbkit.grn.evaluate import against_truth, calibration_table, scored_pairs
from perturbkit.models import MODELS
from perturbkit.models.cells import CellData
from perturbkit.models.gpo_vae.posterior import RECALIBRATION, uncalibrated
from perturbkit.train.cells import build_of_cells, cell_data
from perturbkit.train.config import TrainConfig
from perturbkit.train.loop import Hooks, train

PUBLISHED = {
    "head": "published", "latent_dim": 100, "encoder_dim": 200, "hidden_dim": 400,
    "decoder_layers": 2, "guide_dim": 400, "guide_layers": 4, "perturbations": "one_hot",
    "criterion": 0.8, "penalty": 5.0,
}  # fmt: skip


def data_of(screen: Screen) -> CellData:
    return cell_data(store_of(screen), responses_of(screen), (), np.random.default_rng(0))


def fitted(name: str, cells: CellData, settings: dict, n_epochs: int, **loop):
    """Return a model after some epochs, and its source of batches."""
    card = MODELS[name]
    rng = partial(named_rng, 0, name)
    training = TrainConfig.parse({**card.train, "n_epochs": n_epochs, "patience": 0, **loop})
    model, source, validate = build_of_cells(
        card, card.config.parse(settings), cells, None, training, rng
    )
    train(model, source, training, rng("train"), Hooks(validate=validate))
    return model.eval(), source, training


def planted(seeds: list[int]) -> dict:
    """Score both heads and the reference on screens whose network is known."""
    rows: dict[str, list] = {}
    tables = []
    for seed in seeds:
        world = simulate(preset("planted_edges"), np.random.default_rng(seed))
        cells, sources = data_of(world.screen), list(world.screen.targets)
        ours, _, _ = fitted("gpo_vae", cells, {}, 4)
        theirs, _, _ = fitted("gpo_vae", cells, PUBLISHED, 12, learning_rate=3e-3)
        graphs = {
            "mean difference / control sd": scored_mean_difference(world.screen),
            "calibrated head": ours.graph(), "published head, trained": theirs.graph(),
        }  # fmt: skip
        block = list(theirs.genes)
        for name, graph in graphs.items():
            whole = against_truth(graph, world.graph, sources=sources)
            panel = against_truth(graph, world.graph, sources=sources, targets=block)
            rows.setdefault(name, []).append(
                {"auroc": whole["auroc"], "ap": whole["auprc"], "block auroc": panel["auroc"],
                 "block ap": panel["auprc"],
                 **{k: whole[k] for k in ("n_called", "false_share", "recall", "sign_accuracy")
                    if k in whole}}
            )  # fmt: skip
        pairs = scored_pairs(graphs["calibrated head"], world.graph, sources)
        tables.append(calibration_table(pairs["probability"], pairs["truth"]))
        print(json.dumps({"seed": seed, **{k: v[-1] for k, v in rows.items()}}, default=float),
              flush=True)  # fmt: skip
    return {"scores": rows, "probability, share true, interval, pairs": reliability(tables)}


def recalibration(seeds: list[int], umi: float) -> dict:
    """Learn RECALIBRATION of the calibrated head, and judge the one that is set."""
    parts = [judged(seed, umi) for seed in seeds]
    p, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
    law = Recalibration.learned(p, truth)
    tables = {"learned": law.of(p), "as it is set": RECALIBRATION.of(p)}
    return {"c, a, b": [round(v, 3) for v in law], **{
        f"probability, share true, pairs: {n}": np.round(calibration_table(q, truth), 3).tolist()
        for n, q in tables.items()}}  # fmt: skip


def judged(seed: int, umi: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of every pair of a screen before recalibration, and its truth."""
    world = planted_world(seed, umi)
    model, _, _ = fitted("gpo_vae", data_of(world.screen), {}, 4)
    evidence = model.evidence()
    found, allowed = uncalibrated(evidence)
    true = true_pairs(world.graph, evidence.sources, evidence.readouts)
    return found.probability_kg[allowed], true[allowed]


def control_only(n_draws: int) -> dict:
    """Label control cells as 20 perturbations at random, and count edges at an FDR of 5 %."""
    world = simulate(
        preset("planted_edges").replace(n_control_cells=2000, n_perturbations=2),
        np.random.default_rng(0))  # fmt: skip
    adata = world.screen.adata
    adata = adata[(adata.obs["perturbation"] == "control").to_numpy()].copy()
    genes = list(world.screen.readouts)[:20]
    counts = []
    for seed in range(n_draws):
        part = adata.copy()
        labels = np.array(["control"] * 1200 + genes * 40, dtype=object)
        part.obs["perturbation"] = np.random.default_rng(seed).permutation(labels)
        screen = Screen.of(part, level="cells", unit="counts", constants={"kind": "crispri"})
        model, _, _ = fitted("gpo_vae", data_of(screen), {}, 1)
        counts.append(int((model.graph().columns["fdr"] <= 0.05).sum()))
    return {"edges at 5 % in each draw": counts}


def speed() -> dict:
    """Measure CPU seconds of an epoch at the sizes of the published measurement."""
    screen = simulate(preset("planted_edges"), np.random.default_rng(0)).screen
    cells = data_of(screen)
    cells = replace(cells, train_n=np.arange(cells.store.n_cells), val_n=cells.val_n[:0])
    sams = {"latent_dim": 100, "hidden_dim": 400, "guide_dim": 200, "perturbations": "one_hot"}
    result = {}
    for name, settings in (("sams_vae", sams), ("gpo_vae", PUBLISHED)):
        for precision in ("fp32", "bf16"):
            model, source, training = fitted(
                name, cells, settings | {"n_particles": 5}, 1, precision=precision
            )
            started = time.process_time()
            train(model, source, training, np.random.default_rng(0), Hooks())
            result[f"{name}, {precision}"] = time.process_time() - started
    return {"threads": torch.get_num_threads(), "cells": cells.store.n_cells,
            "CPU seconds of an epoch": result}  # fmt: skip


def finite() -> dict:
    """Train every model at every rate on a hostile screen, and say how it ended."""
    world = simulate(preset("tiny"), np.random.default_rng(3))
    adata = world.screen.adata.copy()
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    rare = sorted(set(labels) - {"control"})[:4]
    once = [int(np.flatnonzero(labels == r)[0]) for r in rare]
    adata = adata[np.sort(np.r_[np.flatnonzero(~np.isin(labels, rare)), once])].copy()
    x = adata.X.toarray()
    x[:, :5], x[0] = 0, x[0] * 10_000
    adata.X = x
    cells = data_of(Screen.of(adata, level="cells", unit="counts"))
    ended = {}
    for name in ("conditional_vae", "cpa_vae", "svae_plus", "sams_vae", "gpo_vae"):
        for rate in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
            try:
                model, _, _ = fitted(name, cells, {"n_particles": 2}, 6, learning_rate=rate)
                good = np.isfinite(model.predict(cells.profiles.conditions).values).all()
                ended[f"{name} {rate:g}"] = "finite" if good else "NaN"
            except DivergedError:
                ended[f"{name} {rate:g}"] = "DivergedError"
    return ended


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--umi", type=float, default=1000.0, help="counts of a simulated cell")
    parts = ["planted", "null", "speed", "finite"]
    parser.add_argument("--only", nargs="*", default=parts, choices=[*parts, "recalibrate"])
    args = parser.parse_args(argv)
    made = {
        "planted": lambda: planted(args.seeds), "null": lambda: control_only(5),
        "speed": speed, "finite": finite,
        "recalibrate": lambda: recalibration(args.seeds, args.umi),
    }  # fmt: skip
    result = {}
    for name in args.only:
        result[name] = made[name]()
        print(json.dumps({name: result[name]}, indent=1, default=float), flush=True)
    return result


if __name__ == "__main__":
    main()
