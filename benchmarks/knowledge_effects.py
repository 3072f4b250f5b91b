"""What networks say of the effects of held-out genes; run by `benchmarks.knowledge`.

Data, splits and seeds are in the docstring there.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse
from scipy.stats import spearmanr

from perturbkit.core.graph import Graph
from perturbkit.core.rng import named_rng
from perturbkit.core.sets import membership
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.embed import embed
from perturbkit.graphs.controls import rewire
from perturbkit.graphs.read import read_graph

NETWORKS = ("string", "humap", "go", "reactome")


def data_folder() -> Path:
    here = Path(__file__).parents[1]
    return Path(os.environ.get("PERTURBKIT_DATA", here.parent / "shared" / "data"))


def interval(draw: Any, n: int, rng: np.random.Generator, n_draws: int = 200) -> list[float]:
    values = [draw(rng.integers(n, size=n)) for _ in range(n_draws)]
    return [round(float(v), 4) for v in np.nanpercentile(values, [2.5, 97.5])]


@dataclass(frozen=True)
class Knowledge:
    """Networks over the screened genes, and their degrees."""

    networks: dict[str, sparse.csr_array]
    """adjacency over the screened genes"""
    sets: dict[str, sparse.csr_array]
    """genes by sets: GO, its cellular components, Reactome, targets of each factor (A-E)"""
    degrees: np.ndarray
    """what degree alone says: degree features of each network, whether it lists the gene, and
    the log number of sets"""


def knowledge(genes: list[str], change: Callable[[Graph], Graph]) -> Knowledge:
    """Read every network, keep these genes, and pass it through `change` (nothing, or rewiring).

    Degrees are those of the real networks, in whole and among these genes, which rewiring keeps.
    """
    folder, rng = data_folder() / "graphs", np.random.default_rng(0)
    networks, sets, degrees = {}, {}, []
    for name in (*NETWORKS, "dorothea"):
        graph = read_graph(name, folder)
        inside = graph.within(Vocabulary(genes))
        features = embed("degree", graph, rng)
        place = features.names.find(genes)
        rows = np.zeros((len(genes), features.width + 2))
        rows[place >= 0, :-2] = features.values[place[place >= 0]]
        rows[:, -2:] = np.stack([place >= 0, np.log1p(inside.degree)], axis=1)
        degrees.append(rows)
        a = change(inside).adjacency
        networks[name] = sparse.csr_array(a.maximum(a.T), dtype=np.float64)
    everything = {
        "go": read_graph("go", folder, as_sets=True),
        "components": read_graph("go", folder, as_sets=True, namespace="cellular_component"),
        "reactome": read_graph("reactome", folder, as_sets=True),
        "factors": read_graph("dorothea", folder, levels=list("ABCDE")),
    }
    for name, graph in everything.items():
        screened_genes = Vocabulary(genes).find(graph.nodes)[graph.target] >= 0
        sets[name] = _membership(change(graph.select(screened_genes)), genes, name)
        degrees.append(np.log1p(np.asarray(sets[name].sum(1)))[:, None])
    return Knowledge(networks, sets, np.concatenate(degrees, axis=1))


def _membership(graph: Graph, genes: list[str], name: str) -> sparse.csr_array:
    if name == "factors":
        # factors regulate factors, so this is no network from sets to genes by itself
        place = Vocabulary(genes).find(graph.nodes)[graph.target]
        ones = np.ones(int((place >= 0).sum()))
        shape = (len(genes), len(graph.nodes))
        return sparse.csr_array((ones, (place[place >= 0], graph.source[place >= 0])), shape=shape)
    matrix, names, _ = membership(graph)
    place = names.find(genes)
    rows = np.flatnonzero(place >= 0)
    pick = sparse.csr_array(
        (np.ones(len(rows)), (rows, place[rows])), shape=(len(genes), matrix.shape[0])
    )
    return sparse.csr_array(pick @ matrix)


def two_steps(adjacency: sparse.csr_array) -> sparse.csr_array:
    """Return symmetric-normalised paths of two steps, never back to the start."""
    degree = np.asarray(adjacency.sum(1)).ravel()
    scale = sparse.diags_array(1 / np.sqrt(np.maximum(degree + 0.1 * degree.mean(), 1e-9)))
    normal = sparse.csr_array(scale @ adjacency @ scale)
    both = sparse.coo_array(normal @ normal)
    row, column = both.coords
    off = row != column
    return sparse.csr_array((both.data[off], (row[off], column[off])), shape=both.shape)


def neighbour_means(known: Knowledge, far: dict[str, Any], train: np.ndarray, y: np.ndarray) -> Any:
    """Return what a gene's neighbours and set mates in training did; its own value never enters.

    Shrunken means of y over neighbours, over paths of two steps, and over the sets of a gene.
    """
    n, m = len(y), train.astype(float)
    v = np.where(train, y - y[train].mean(), 0)
    columns = []
    for a in known.networks.values():
        total, count = a @ v, a @ m
        columns += [total / (count + 2 * a.data.mean()), total / np.sqrt(count + 0.01)]
    for b in far.values():
        columns.append((b @ v) / (b @ m + 0.2))
    for x in known.sets.values():
        row, column = sparse.coo_array(x).coords
        total, count = (x.T @ v)[column], (x.T @ m)[column]
        mean = (total - v[row]) / (count - m[row] + 5)
        weight = 1 / np.sqrt(count + 5)
        sums, norm = np.bincount(row, mean * weight, n), np.bincount(row, weight, n)
        high, low = np.zeros(n), np.zeros(n)
        np.maximum.at(high, row, mean)
        np.minimum.at(low, row, mean)
        columns += [sums / (norm + 0.1), sums / np.sqrt(norm + 0.1), high, low]
    return np.stack(columns, axis=1)


def ridge(x: np.ndarray, y: np.ndarray, train: np.ndarray, penalty: float = 300.0) -> np.ndarray:
    """Predict the rows not in training by ridge regression on standardised columns."""
    z = (x - x[train].mean(0)) / (x[train].std(0) + 1e-9)
    mean = y[train].mean()
    gram = z[train].T @ z[train] + penalty * np.eye(z.shape[1])
    return mean + z[~train] @ np.linalg.solve(gram, z[train].T @ (y[train] - mean))


def cross_validated(
    known: Knowledge, y: np.ndarray, folds: np.ndarray, *, mates: bool, more: Any = None
) -> np.ndarray:
    """Predict each gene from the other nine folds."""
    predicted = np.zeros(len(y))
    far = (
        {k: two_steps(known.networks[k]) for k in ("string", "humap", "reactome")} if mates else {}
    )
    for fold in range(10):
        train = folds != fold
        parts = [known.degrees] if more is None else [known.degrees, more]
        if mates:
            means = neighbour_means(known, far, train, y)
            spread = means[train].std(0) + 1e-9
            # a neighbour with a strong effect says more than many without any
            parts += [means, np.maximum(means / spread, 0) ** 2]
        predicted[~train] = ridge(np.concatenate(parts, axis=1), y, train)
    return predicted


def screened() -> tuple[list[str], np.ndarray]:
    """Return genes of the K562 genome-wide screen and mean log1p number of DE genes."""
    column = "Number of DEGs (anderson-darling)"
    table = pl.read_csv(data_folder() / "replogle2022/k562_gwps_day8.csv.gz",
                        infer_schema_length=20_000)  # fmt: skip
    table = table.filter((pl.col("gene") != "non-targeting") & pl.col(column).is_not_null())
    table = table.with_columns(y=pl.col(column).cast(pl.Float64).log1p())
    table = table.group_by("gene", maintain_order=True).agg(pl.col("y").mean())
    return table["gene"].to_list(), table["y"].to_numpy()


def effects() -> dict[str, Any]:
    """Spearman of predicted and measured log number of DE genes of held-out genes."""
    genes, y = screened()
    folds = named_rng(0, "effects").permutation(len(y)) % 10
    real = knowledge(genes, lambda g: g)
    shuffle = named_rng(0, "rewire")
    fake = knowledge(genes, lambda g: rewire(g, shuffle))
    essential = set((data_folder() / "screens/CEGv2.txt").read_text().split())
    one = np.array([[g in essential] for g in genes], float)
    rows = {
        "real networks": cross_validated(real, y, folds, mates=True),
        "rewired networks": cross_validated(fake, y, folds, mates=True),
        "degree only": cross_validated(real, y, folds, mates=False),
        # a gene that STRING does not list has no neighbour
        "STRING degree alone": np.diff(real.networks["string"].indptr).astype(float),
        "real + common essential genes (CEGv2)": cross_validated(
            real, y, folds, mates=True, more=one
        ),
        "common essential genes (CEGv2) alone": one[:, 0],
        "empty networks, or one-hot (a constant)": np.zeros(len(y)),
    }
    rng = named_rng(0, "effects", "interval")
    draws = [rng.integers(len(y), size=len(y)) for _ in range(200)]
    table: dict[str, Any] = {"genes": len(genes)}
    scores = {}
    for name, predicted in rows.items():
        if not predicted.any():
            table[name] = {"spearman": 0.0, "note": "no order among held-out genes"}
            continue
        scores[name] = np.array([spearmanr(predicted[i], y[i])[0] for i in draws])
        low, high = np.percentile(scores[name], [2.5, 97.5])
        table[name] = {"spearman": round(float(spearmanr(predicted, y)[0]), 4),
                       "interval": [round(float(low), 4), round(float(high), 4)]}  # fmt: skip
        print(json.dumps({name: table[name]}), flush=True)
    for name in ("rewired networks", "degree only"):
        gap = np.percentile(scores["real networks"] - scores[name], [2.5, 97.5])
        table[f"real minus {name}"] = [round(float(g), 4) for g in gap]
    gap = np.percentile(scores["rewired networks"] - scores["degree only"], [2.5, 97.5])
    table["rewired minus degree only"] = [round(float(g), 4) for g in gap]
    return table


def deltas(screen: Any) -> tuple[list[str], np.ndarray, list[str]]:
    """Return single targets, their mean change against the control of the context, readouts."""
    from perturbkit.core.condition import conditions_of
    from perturbkit.data.profiles import responses_of

    responses = screen if hasattr(screen, "mean_cg") else responses_of(screen)
    delta, found = responses.delta_cg(), {}
    for i, condition in enumerate(conditions_of(responses.conditions)):
        if len(condition.targets) == 1:
            found.setdefault(condition.targets[0], []).append(np.nan_to_num(delta[i]))
    names = sorted(found)
    return names, np.stack([np.mean(found[n], axis=0) for n in names]), list(responses.readouts)


def left_out(features: Any, names: list[str], y_cg: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Predict each target from the others by kernel ridge on the cosine of features.

    The mean of the other targets is the origin; a target without features is predicted by it.
    """
    place = features.names.find(names)
    x = np.zeros((len(names), features.width))
    x[place >= 0] = features.values[place[place >= 0]]
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    kernel, predicted = np.maximum(x @ x.T, 0), np.zeros_like(y_cg, dtype=float)
    for i in range(len(names)):
        rest = np.arange(len(names)) != i
        mean = y_cg[rest].mean(0)
        weight = np.linalg.solve(kernel[np.ix_(rest, rest)] + penalty * np.eye(rest.sum()),
                                 y_cg[rest] - mean)  # fmt: skip
        predicted[i] = mean + kernel[i, rest] @ weight
    return predicted


def pearson_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


def unseen() -> dict[str, Any]:
    """Pearson of predicted and measured change of left-out targets, by kind of features.

    Readouts that are targets themselves are left out of the correlation of that target.
    """
    from perturbkit.core.features import Features
    from perturbkit.data.screens import open_screen
    from perturbkit.data.simulate import preset, simulate

    made = simulate(preset("four_contexts"), named_rng(0, "unseen"))
    folder = data_folder()
    strings = read_graph("string", folder / "graphs")
    cases = {
        "simulated, its true network": (made.responses, made.graph),
        "papalexi2021, STRING": (
            open_screen(str(folder / "papalexi2021/papalexi2021_eccite_299genes.h5ad")), strings
        ),
        "perturbench_devel, STRING": (
            open_screen(str(folder / "perturbench_devel/devel.h5ad"), unit="log1p_cp10k"), strings
        ),
    }  # fmt: skip
    table: dict[str, Any] = {}
    vectors: dict[int, Any] = {}
    for case, (screen, graph) in cases.items():
        names, y, readouts = deltas(screen)
        rng = named_rng(0, "unseen", case)
        # the same network is embedded once
        if id(graph) not in vectors:
            vectors[id(graph)] = [embed("spectral", g, rng, width=64)
                                  for g in (graph, rewire(graph, rng))]  # fmt: skip
        keep = np.array(readouts)[None] != np.array(names)[:, None]
        y = np.where(keep, y, 0)
        kinds = {
            "real": vectors[id(graph)][0],
            "rewired": vectors[id(graph)][1],
            "empty": Features(Vocabulary(["-"]), np.zeros((1, 1))),
            "one-hot": Features(Vocabulary(names), np.eye(len(names))),
        }
        scores = {k: pearson_rows(np.where(keep, left_out(f, names, y), 0), y)
                  for k, f in kinds.items()}  # fmt: skip
        row: dict[str, Any] = {"targets": len(names), "in network": int(
            (kinds["real"].names.find(names) >= 0).sum())}  # fmt: skip
        for kind, score in scores.items():
            draw = interval(lambda i, s=score: s[i].mean(), len(names), rng)
            row[kind] = [round(float(score.mean()), 4), *draw]
            if kind != "real":
                gap = scores["real"] - score
                row[f"real minus {kind}"] = [round(float(gap.mean()), 4), *interval(
                    lambda i, g=gap: g[i].mean(), len(names), rng)]  # fmt: skip
        table[case] = row
        print(json.dumps({case: row}), flush=True)
    return table
