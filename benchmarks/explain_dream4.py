"""Every network method on DREAM4, size 100, networks 1 to 3.

Data: shared data folder, `dream4/size100_{1,2,3}` (Marbach et al. 2010): knock-outs, knock-downs,
wild type, multifactorial and time series; the gold standard is used for scoring only. Split: none,
all 9,900 ordered pairs are scored. Seed 0. Settings of `direct` were chosen with these networks in
sight (one of them, the weight of hubs) and with simulated screens; see docs/benchmarks/explain.md.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn import GRN_METHODS
from perturbkit.grn.combine import supported
from perturbkit.grn.evaluate import against_truth
from perturbkit.grn.lagged import lagged


@dataclass(frozen=True)
class Network:
    """What DREAM4 gives for one network."""

    knockouts: Screen
    steady: Screen
    everything: Screen
    series_stg: np.ndarray
    truth: Graph


def folder_of(argument: str | None) -> Path:
    here = Path(__file__).parents[1]
    default = os.environ.get("PERTURBKIT_DATA", here.parent / "shared" / "data")
    return Path(argument or default)


def read(folder: Path, n: int) -> Network:
    """Read one network's files."""
    place = folder / "dream4" / f"size100_{n}"
    tables = {
        name: pd.read_csv(place / f"{name}.tsv", sep="\t")
        for name in ("knockouts", "knockdowns", "wildtype", "multifactorial", "timeseries")
    }
    genes = list(tables["knockouts"].columns)
    wild = ("control", "unknown", "wt", tables["wildtype"])
    ko = (genes, "ko", "ko", tables["knockouts"])
    kd = (genes, "crispri", "kd", tables["knockdowns"])
    mf = ("control", "unknown", "multifactorial", tables["multifactorial"])
    series = tables["timeseries"][genes].to_numpy()
    truth = pl.read_csv(place / "goldStandard.tsv", separator="\t", has_header=False,
                        new_columns=["source", "target", "edge"])  # fmt: skip
    return Network(
        knockouts=_screen([wild, ko], genes),
        steady=_screen([wild, ko, kd], genes),
        everything=_screen([wild, ko, kd, mf], genes),
        series_stg=series.reshape(10, 21, len(genes)),
        truth=Graph.of(truth.filter(pl.col("edge") == 1).select("source", "target"),
                       directed=True, nodes=genes),
    )  # fmt: skip


def _screen(parts: list, genes: list[str]) -> Screen:
    obs, values = [], []
    for label, kind, batch, table in parts:
        names = [label] * len(table) if isinstance(label, str) else label
        obs.append(pd.DataFrame({"perturbation": names, "kind": kind, "source": batch}))
        values.append(table[genes].to_numpy())
    frame = pd.concat(obs, ignore_index=True)
    frame.index = frame.index.astype(str)
    adata = ad.AnnData(np.concatenate(values), frame, pd.DataFrame(index=genes))
    return Screen.of(adata, level="profiles", unit="score")


def networks_of(net: Network, methods: list[str]) -> dict[str, tuple[Graph, float]]:
    """Return the graph and seconds of the reference, each method, and the combination."""
    result = {}

    def keep(name, make) -> None:
        start = time.perf_counter()
        graph = make()
        result[name] = (graph, time.perf_counter() - start)

    def rng() -> np.random.Generator:
        return np.random.default_rng(0)

    reference = GRN_METHODS["knockout_z"]
    keep("reference: knockout_z, knock-outs only", lambda: reference.fn(net.knockouts, rng()))
    for name in methods:
        card = GRN_METHODS[name]
        screen = net.steady if card.interventional else net.everything
        keep(name, lambda card=card, screen=screen: card.fn(screen, rng()))
    keep("lagged correlation of the time series",
         lambda: lagged(net.series_stg, net.steady.readouts))  # fmt: skip
    if "direct" in result:
        past = result["lagged correlation of the time series"][0]
        keep("direct, knock-outs only", lambda: GRN_METHODS["direct"].fn(net.knockouts, rng()))
        keep("direct supported by the time series", lambda: supported(result["direct"][0], past))
    return result


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=None)
    parser.add_argument("--methods", nargs="*", default=list(GRN_METHODS))
    args = parser.parse_args(argv)
    rows: dict[str, dict] = {}
    for n in (1, 2, 3):
        net = read(folder_of(args.data), n)
        for name, (graph, seconds) in networks_of(net, args.methods).items():
            score = against_truth(graph, net.truth)
            row = rows.setdefault(name, {"auroc": [], "auprc": [], "seconds": 0.0})
            row["auroc"].append(round(score["auroc"], 4))
            row["auprc"].append(round(score["auprc"], 4))
            row["seconds"] = round(row["seconds"] + seconds, 2)
    for row in rows.values():
        row["mean"] = [round(float(np.mean(row[k])), 4) for k in ("auroc", "auprc")]
    result = {"dream4 size 100": rows}
    print(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
