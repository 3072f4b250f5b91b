"""Do networks and gene features carry biology? Held-out edges, and effects of held-out genes.

Data: STRING, hu.MAP, GO, Reactome (pathfindR.data 2024-04) and the K562 genome-wide screen of
Replogle 2022 (number of differentially expressed genes, Anderson-Darling, per perturbed gene; the
target is the mean of log1p over the guides of a gene), from PERTURBKIT_DATA.

Split: 10 % of edges held out against pairs with exchanged partners (same degrees, no edge);
10 folds over genes. Seeds: 0 unless stated. Intervals: 95 %, bootstrap over genes or edges.

Run: python -m benchmarks.knowledge [edges] [effects] [unseen] [load]
"""

import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks import knowledge_effects as effects
from benchmarks.knowledge_effects import NETWORKS, data_folder, interval
from scipy.stats import rankdata

from perturbkit.core.graph import Graph
from perturbkit.core.rng import named_rng
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.embed import embed
from perturbkit.graphs.controls import rewire
from perturbkit.graphs.read import read_graph
from perturbkit.models.nn.graph import edge_codes, shuffled_partners


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([positive, negative]))
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


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
            width = (widths or {"string": 256}).get(name, 128)
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


def write_string(folder: Path, n_rows: int, rng: np.random.Generator) -> None:
    """Write files in STRING's layout with 19,622 proteins and n_rows links, gzip."""
    n = 19_622
    ids = np.array([f"9606.ENSP{i:011d}" for i in range(n)])
    with gzip.open(folder / "9606.protein.info.v12.0.txt.gz", "wt", compresslevel=1) as file:
        file.write("#string_protein_id\tpreferred_name\tprotein_size\tannotation\n")
        file.writelines(f"{p}\tGENE{i}\t500\tannotation of it\n" for i, p in enumerate(ids))
    names = pl.Series(ids)
    path = folder / "9606.protein.links.v12.0.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"protein1 protein2 combined_score\n")
        for start in range(0, n_rows, 1_000_000):
            m = min(1_000_000, n_rows - start)
            # popular proteins have more links, most scores are low, as in the real file
            a, b = (n * rng.random((2, m)) ** 1.5).astype(np.int64)
            score = np.minimum(150 + rng.exponential(130, m), 999).astype(np.int64)
            block = pl.DataFrame({"a": names.gather(a), "b": names.gather(b), "s": score})
            file.write(block.write_csv(include_header=False, separator=" ").encode())


_LOAD = """
import json, resource, sys, time
from perturbkit.graphs.read import read_graph
rows = []
began = time.perf_counter()
graph = read_graph("string", sys.argv[1], confidence=float(sys.argv[2]))
rows = {"seconds": round(time.perf_counter() - began, 1), "cpu_s": round(time.process_time(), 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "edges": graph.n_edges, "genes": len(graph.nodes)}
print(json.dumps(rows))
"""


def load(n_rows: int = 12_000_000) -> dict[str, Any]:
    """Read a human-size STRING file in a fresh process; wall time, CPU time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        write_string(Path(folder), n_rows, named_rng(0, "string"))
        table: dict[str, Any] = {"rows": n_rows}
        for confidence in ("0.4", "0.7"):
            run = subprocess.run([sys.executable, "-c", _LOAD, folder, confidence],
                                 capture_output=True, text=True, check=True)  # fmt: skip
            table[f"confidence {confidence}"] = json.loads(run.stdout)
        size = sum(p.stat().st_size for p in Path(folder).iterdir())
        table["file_mb"] = round(size / 1e6)
    return table


def main(argv: list[str] | None = None) -> dict[str, Any]:
    chosen = sys.argv[1:] if argv is None else argv
    parts: dict[str, Callable[[], Any]] = {
        "edges": edges,
        "effects": effects.effects,
        "unseen": effects.unseen,
        "load": load,
    }
    result = {name: parts[name]() for name in (chosen or parts)}
    print(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    main()
