"""Do networks and gene features carry biology? Held-out edges, and effects of held-out genes.

Data: STRING, hu.MAP, GO, Reactome (pathfindR.data 2024-04) and the K562 genome-wide screen of
Replogle 2022 (number of differentially expressed genes, Anderson-Darling, per perturbed gene; the
target is the mean of log1p over the guides of a gene), from PERTURBKIT_DATA.

Split: 10 % of edges held out against pairs with exchanged partners (same degrees, no edge);
10 folds over genes. Seeds: 0 unless stated. Intervals: 95 %, bootstrap over genes or edges.

Run: python -m benchmarks.knowledge [edges] [effects] [load]
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from perturbkit.core.graph import Graph
from perturbkit.core.rng import named_rng
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.embed import embed
from perturbkit.graphs.controls import rewire
from perturbkit.graphs.read import read_graph
from perturbkit.models.nn.graph import edge_codes, shuffled_partners

NETWORKS = ("string", "humap", "go", "reactome")


def data_folder() -> Path:
    here = Path(__file__).parents[1]
    return Path(os.environ.get("PERTURBKIT_DATA", here.parent / "shared" / "data"))


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([positive, negative]))
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def interval(draw: Any, n: int, rng: np.random.Generator, n_draws: int = 200) -> list[float]:
    values = [draw(rng.integers(n, size=n)) for _ in range(n_draws)]
    return [round(float(v), 4) for v in np.nanpercentile(values, [2.5, 97.5])]


def held_out(graph: Graph, rng: np.random.Generator) -> tuple[Graph, np.ndarray, np.ndarray]:
    """Return the network without a tenth of its edges, these, and pairs of the same degrees."""
    test = np.zeros(graph.n_edges, bool)
    test[rng.choice(graph.n_edges, graph.n_edges // 10, replace=False)] = True
    every = edge_codes(graph, graph.nodes)
    codes = np.sort(every[:, 0] * len(graph.nodes) + every[:, 1])
    pairs = edge_codes(graph.select(test), graph.nodes)
    return graph.select(~test), pairs, shuffled_partners(pairs, codes, len(graph.nodes), rng)


def similarity(features: Any, nodes: Vocabulary, pairs: np.ndarray) -> np.ndarray:
    """Return the cosine of pairs; a gene without features is similar to none."""
    place = features.names.find(nodes)
    x = np.zeros((len(nodes), features.width), np.float32)
    x[place >= 0] = features.values[place[place >= 0]]
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    return (x[pairs[:, 0]] * x[pairs[:, 1]]).sum(1)


def edges(widths: dict[str, int] | None = None, n_steps: int = 40) -> dict[str, Any]:
    from perturbkit.models.nn.link import LinkConfig, fit_graph_encoder

    table: dict[str, Any] = {}
    for name in NETWORKS:
        real = read_graph(name, data_folder() / "graphs")
        for kind in ("real", "rewired"):
            rng = named_rng(0, "edges", name, kind)
            graph = real if kind == "real" else rewire(real, rng)
            train, pairs, others = held_out(graph, rng)
            width = (widths or {}).get(name, 128)
            began = time.perf_counter()
            found = {"spectral": embed("spectral", train, rng, width=width)}
            found["learned"] = fit_graph_encoder(
                [train], LinkConfig(width=width, n_steps=n_steps), rng, features=found["spectral"]
            )
            row: dict[str, Any] = {"n_edges": len(pairs), "width": width}
            for label, features in found.items():
                a = similarity(features, graph.nodes, pairs)
                b = similarity(features, graph.nodes, others)
                low_high = interval(lambda i, a=a, b=b: auroc(a[i], b[i % len(b)]), len(a), rng, 40)
                row[label] = [round(auroc(a, b), 4), *low_high]
            row["seconds"] = round(time.perf_counter() - began, 1)
            table[f"{name} {kind}"] = row
            print(json.dumps({f"{name} {kind}": row}), flush=True)
    return table
