"""Hyperbolic against Euclidean: effects of held-out knock-outs on simulated hierarchies.

Data: simulated networks of 60 genes, one per seed, without feedback. Both models see the
undirected skeleton, and for each gene its degree, the mean and spread of its change over the
training knock-outs, and learn the signed effects of 70 % of the knock-outs; they predict those of
the others. The same layers, heads, number of weights, start and steps; only the geometry differs.
Score: correlation of predicted and true sizes |effect| over held-out pairs. Paired over seeds.
"""

import argparse
import json

import numpy as np
import torch

from perturbkit.core.rng import named_rng, torch_generator
from perturbkit.data.simulate import SimulationConfig
from perturbkit.data.simulate.settings import NetworkConfig
from perturbkit.design.network import NetworkTruth, draw_truth
from perturbkit.models.hyperbolic import HyperbolicConfig, HyperPerturb, careful_step, normalise


def inputs(truth: NetworkTruth, train: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    skeleton = truth.edge_gg | truth.edge_gg.T
    seen = np.clip(truth.effect_gg[train], -3, 3)
    columns = [np.log1p(skeleton.sum(1)), np.abs(seen).mean(0), seen.mean(0), seen.std(0)]
    x = np.stack(columns, 1)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    return torch.tensor(x, dtype=torch.float32), normalise(torch.tensor(skeleton).float())


def held_out(truth: NetworkTruth, geometry: str, dim: int, seed: int, steps: int) -> float:
    n = len(truth.edge_gg)
    order = named_rng(seed, "fold").permutation(n)
    train, test = order[: int(0.7 * n)], order[int(0.7 * n) :]
    x, adjacency = inputs(truth, train)
    target = torch.tensor(np.clip(truth.effect_gg, -3, 3), dtype=torch.float32)
    off = ~torch.eye(n, dtype=torch.bool)
    config = HyperbolicConfig(geometry=geometry, embedding_dim=dim, width=16)
    model = HyperPerturb(x.shape[1], config, generator=torch_generator(named_rng(seed, "start")))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        error = (model.effects(model(x, adjacency)) - target)[train][off[train]]
        careful_step(optimizer, error.square().mean(), list(model.parameters()))
    with torch.no_grad():
        found = model.effects(model(x, adjacency))[test][off[test]].abs().numpy()
    return float(np.corrcoef(found, target[test][off[test]].abs().numpy())[0, 1])


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    config = SimulationConfig(
        n_genes=60, n_contexts=1, n_perturbations=60, kind="ko",
        network=NetworkConfig(complexes=0.0, common_response=0.0, feedback=0.0),
    )  # fmt: skip
    found: dict = {}
    for dim in (2, 8):
        scores = []
        for seed in range(options.seeds):
            truth = draw_truth(config, named_rng(seed, "network"))
            scores.append([
                held_out(truth, g, dim, seed, options.steps) for g in ("hyperbolic", "euclidean")
            ])  # fmt: skip
        values = np.array(scores)
        gap = values[:, 0] - values[:, 1]
        rng = np.random.default_rng(0)
        draws = gap[rng.integers(len(gap), size=(2000, len(gap)))].mean(1)
        found[f"dim {dim}"] = {
            "hyperbolic": float(values[:, 0].mean()), "euclidean": float(values[:, 1].mean()),
            "gap": [float(gap.mean()), *map(float, np.quantile(draws, [0.025, 0.975]))],
            "seeds": options.seeds,
        }  # fmt: skip
        print(json.dumps({f"dim {dim}": found[f"dim {dim}"]}), flush=True)
    return found


if __name__ == "__main__":
    main()
