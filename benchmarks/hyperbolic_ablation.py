"""What each option of the hyperbolic parts is worth: paired over simulated hierarchies.

`encoder`: effects of held-out knock-outs, 60 genes a network, as in `benchmarks.hyperbolic_twin`
(70 % of the knock-outs to learn from; score: correlation of |effect| with the truth). One option
is changed at a time; the default is hyperbolic, Haar start, annealed rate, adaptive curvature, free
radius, no trace penalty. `embedding`: free points, one a gene, whose distances are to tell ancestor
pairs from others, in 2 dimensions: tangents with Adam, ball points with Riemannian Adam, and
Euclidean points; score: average precision over pairs. `hierarchy`: `HyperPerturbTrainer` on 100
genes, each knocked out twice with noise 0.3: do radii order ancestors before descendants
(concordance, chance 0.5), how well do effects rank the direct edges, beside the same scores of
the measured effects and of two sparse regressions. A line of JSON each.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np
import polars as pl
import torch
from benchmarks.hyperbolic_twin import inputs

from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng, torch_generator
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.simulate import SimulationConfig
from perturbkit.data.simulate.settings import NetworkConfig
from perturbkit.design.hyperperturb import HyperPerturbTrainer
from perturbkit.design.metrics import ancestor_concordance, average_precision
from perturbkit.design.network import Evidence, NetworkTruth, direct_scores, draw_truth, levels
from perturbkit.models.hyperbolic import HyperbolicConfig, HyperPerturb, careful_step
from perturbkit.models.nn import poincare
from perturbkit.models.nn.hyperbolic_layers import TracePenalty, annealed
from perturbkit.models.nn.riemannian import RiemannianAdam

SHAPE = NetworkConfig(complexes=0.0, common_response=0.0, feedback=0.0)
ENCODERS: dict[str, dict] = {
    "default": {},
    "euclidean": {"geometry": "euclidean"},
    "unitary start": {"start": "unitary"},
    "Gaussian start": {"start": "xavier"},
    "constant rate": {"schedule": "constant"},
    "trace penalty 0.01": {"trace": 0.01},
    "trace penalty 1": {"trace": 1.0},
    "curvature fixed at 1": {"adaptive": False},
    "radius fixed (Hyper++)": {"radius": "fixed"},
}
NOISE, REPLICATES = 0.3, 2


def truth_of(n: int, seed: int) -> NetworkTruth:
    config = SimulationConfig(n_genes=n, n_contexts=1, n_perturbations=n, kind="ko", network=SHAPE)
    return draw_truth(config, named_rng(seed, "network"))


def encoder(seed: int, options: dict, steps: int) -> float:
    truth = truth_of(60, seed)
    n = len(truth.edge_gg)
    order = named_rng(seed, "fold").permutation(n)
    train, test = order[: int(0.7 * n)], order[int(0.7 * n) :]
    x, adjacency = inputs(truth, train)
    target = torch.tensor(np.clip(truth.effect_gg, -3, 3), dtype=torch.float32)
    off = ~torch.eye(n, dtype=torch.bool)
    settings = {k: v for k, v in options.items() if k not in ("schedule", "trace")}
    config = HyperbolicConfig(embedding_dim=4, width=16, **settings)
    model = HyperPerturb(x.shape[1], config, generator=torch_generator(named_rng(seed, "start")))
    trace = TracePenalty(model.query, beta=options.get("trace", 0.0))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(steps):
        rate = 1.0 if options.get("schedule") == "constant" else annealed(step, steps)
        optimizer.param_groups[0]["lr"] = 1e-2 * rate
        error = (model.effects(model(x, adjacency)) - target)[train][off[train]]
        careful_step(
            optimizer, error.square().mean() + trace(model.query), list(model.parameters())
        )
    with torch.no_grad():
        found = model.effects(model(x, adjacency))[test][off[test]].abs().numpy()
    return float(np.corrcoef(found, target[test][off[test]].abs().numpy())[0, 1])


def embedding(seed: int, form: str, steps: int) -> float:
    """Fit free points to ancestor pairs; return the average precision of their nearness."""
    truth = truth_of(60, seed)
    n = len(truth.edge_gg)
    near = torch.tensor(truth.ancestor_gg | truth.ancestor_gg.T)
    a, b = torch.triu_indices(n, n, 1)
    label = near[a, b].float()
    start = 0.1 * torch.randn(n, 2, generator=torch_generator(named_rng(seed, "points")))
    reach = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    points = torch.nn.Parameter(poincare.expmap0(start) if form == "riemannian" else start)
    others = torch.optim.Adam([reach] if form == "riemannian" else [reach, points], 0.05)
    curved = RiemannianAdam([points], 0.05) if form == "riemannian" else None
    score = torch.zeros(len(a))
    for _ in range(steps):
        if form == "riemannian":
            d = poincare.dist(points[a], points[b])
        elif form == "tangent":
            d = poincare.dist_tangent(points[a], points[b])
        else:
            d = 2.0 * poincare.root((points[a] - points[b]).square().sum(-1))
        score = reach[0] - torch.nn.functional.softplus(reach[1]) * d
        loss = torch.nn.functional.binary_cross_entropy_with_logits(score, label)
        for optimizer in (others, curved):
            if optimizer is not None:
                optimizer.zero_grad()
        loss.backward()
        for optimizer in (others, curved):
            if optimizer is not None:
                optimizer.step()
    return average_precision(score.detach().numpy(), label.numpy().astype(bool))


def hierarchy(seed: int, geometry: str, epochs: int) -> dict[str, float]:
    truth = truth_of(100, seed)
    n = len(truth.edge_gg)
    rng = named_rng(seed, "noise")
    evidence = Evidence.none(n, NOISE)
    for _ in range(REPLICATES):
        for gene in range(n):
            evidence.add(gene, truth.effect_gg[gene] + NOISE * rng.standard_normal(n))
    names = [f"G{i:03d}" for i in range(n)]
    table = pl.DataFrame({"perturbation": names, "context": ["x"] * n})
    table = table.with_columns(status=pl.lit("measured"))
    measured = Responses(
        evidence.mean_gg[None].astype(np.float32), table, Vocabulary(names, "readout"), "log2fc"
    )
    # the prior network: the skeleton with a third of its edges lost and as many false ones
    up, down = np.nonzero(truth.edge_gg)
    kept = rng.random(len(up)) < 2 / 3
    false = rng.integers(n, size=(2, int((~kept).sum())))
    a, b = np.r_[up[kept], false[0]], np.r_[down[kept], false[1]]
    genes = np.array(names, dtype=object)
    edges = pl.DataFrame({"source": genes[a], "target": genes[b]},
                         schema={"source": pl.String, "target": pl.String})  # fmt: skip
    graph = Graph.of(edges, directed=False, nodes=names)
    trainer = HyperPerturbTrainer(
        1.0, {"info_gain": 1.0, "hierarchy": 1.0}, "quantum", epochs=epochs, seed=seed,
        geometry=geometry, validation=0.0, batch=25,
    )  # fmt: skip
    fitted = trainer.train(measured, graph)
    off = ~np.eye(n, dtype=bool)
    edge = truth.edge_gg[off]
    return {
        "concordance": ancestor_concordance(fitted.levels(), truth.ancestor_gg),
        "concordance of effect counts": ancestor_concordance(levels(evidence), truth.ancestor_gg),
        "edge auprc": average_precision(np.abs(fitted.effects())[off], edge),
        "edge auprc of measured effects": average_precision(np.abs(evidence.mean_gg)[off], edge),
        "edge auprc of sparse regressions": average_precision(direct_scores(evidence)[off], edge),
        "prevalence": float(edge.mean()),
    }


def interval(values: np.ndarray) -> list[float]:
    rng = named_rng(0, "draws")
    draws = values[rng.integers(len(values), size=(4000, len(values)))].mean(1)
    return [round(float(v), 3) for v in (values.mean(), *np.quantile(draws, [0.025, 0.975]))]


def compare(scores: Callable[[int, str], float], names: list[str], seeds: int, what: str) -> None:
    values = {n: np.array([scores(s, n) for s in range(seeds)]) for n in names}
    for name in names:
        row = {"what": what, "option": name, "seeds": seeds, "score": interval(values[name])}
        if name != names[0]:
            row[f"minus {names[0]}"] = interval(values[name] - values[names[0]])
        print(json.dumps(row), flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["encoder", "embedding", "hierarchy"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=80)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if "encoder" in options.what:
        compare(
            lambda s, n: encoder(s, ENCODERS[n], options.steps), list(ENCODERS), options.seeds,
            "encoder",
        )  # fmt: skip
    if "embedding" in options.what:
        compare(
            lambda s, n: embedding(s, n, 150), ["tangent", "riemannian", "euclidean"],
            options.seeds, "embedding",
        )  # fmt: skip
    if "hierarchy" in options.what:
        found = {
            g: [hierarchy(s, g, 30) for s in range(options.seeds)]
            for g in ("hyperbolic", "euclidean")
        }
        for name in found["hyperbolic"][0]:
            both = [np.array([r[name] for r in found[g]]) for g in found]
            row = {"what": "hierarchy", "score": name, "seeds": options.seeds,
                   "hyperbolic": interval(both[0]), "euclidean": interval(both[1]),
                   "gap": interval(both[0] - both[1])}  # fmt: skip
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
