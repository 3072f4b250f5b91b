"""Every network method on DREAM4, size 100, networks 1 to 3.

Data: shared data folder, `dream4/size100_{1,2,3}` (Marbach et al. 2010): knock-outs, knock-downs,
wild type, multifactorial and time series; the gold standard is used for scoring only. Split: none,
all 9,900 ordered pairs are scored. Seed 0. Settings of `direct` were chosen with these networks in
sight (one of them, the weight of hubs) and with simulated screens; see docs/benchmarks/explain.md.
`--leave-one-out` therefore chooses that weight, the misfit and the gain of the time series anew for
each network, by the mean AUROC of the other two.
"""

import argparse
import importlib
import json
import os
import time
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.data import direct_effects
from perturbkit.data.spike_slab import RatePrior
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
        if (card.max_genes or 10**9) < len(net.steady.readouts):
            continue
        screen = net.steady if card.interventional else net.everything
        keep(name, lambda card=card, screen=screen: card.fn(screen, rng()))
    keep("lagged correlation of the time series",
         lambda: lagged(net.series_stg, net.steady.readouts))  # fmt: skip
    if "direct" in result:
        past = result["lagged correlation of the time series"][0]
        keep("direct, knock-outs only", lambda: GRN_METHODS["direct"].fn(net.knockouts, rng()))
        keep("direct supported by the time series", lambda: supported(result["direct"][0], past))
    return result


def leave_one_out(nets: dict[int, Network]) -> dict:
    """Score each network with the settings that are best on the two others."""
    # the package's attribute of that name is the method's card
    head = importlib.import_module("perturbkit.grn.direct")
    usual = direct_effects.MISFIT
    found: dict[tuple, dict[int, tuple[float, float]]] = {}
    for prior, misfit in product((0.3, 1.0, 3.0, 10.0), (0.3, 0.6)):
        head.RatePrior, direct_effects.MISFIT = partial(RatePrior, predictor=prior), misfit
        for n, net in nets.items():
            graph = GRN_METHODS["direct"].fn(net.steady, np.random.default_rng(0))
            past = lagged(net.series_stg, net.steady.readouts)
            for gain in (0.0, 1.0, 2.0, 3.0):
                joined = supported(graph, past, gain=gain) if gain else graph
                score = against_truth(joined, net.truth)
                found.setdefault((prior, misfit, gain), {})[n] = score["auroc"], score["auprc"]
    head.RatePrior, direct_effects.MISFIT = RatePrior, usual
    result: dict = {}
    for name, allowed in (("direct", (0.0,)), ("direct supported", (0.0, 1.0, 2.0, 3.0))):
        rows = {}
        for n in nets:
            settings = [s for s in found if s[2] in allowed]
            best = max(settings, key=lambda s: sum(found[s][m][0] for m in nets if m != n))
            auroc, auprc = (round(v, 4) for v in found[best][n])
            rows[f"network {n}"] = {"hubs, misfit, gain": best, "auroc": auroc, "auprc": auprc}
        rows["mean"] = [round(float(np.mean([r[k] for r in rows.values()])), 4)
                        for k in ("auroc", "auprc")]  # fmt: skip
        spread = [np.mean([v[0] for v in found[s].values()]) for s in found if s[2] in allowed]
        rows["mean auroc over all settings"] = [round(float(f(spread)), 4) for f in (min, max)]
        result[name] = rows
    return result


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=None)
    parser.add_argument("--methods", nargs="*", default=list(GRN_METHODS))
    parser.add_argument("--leave-one-out", action="store_true")
    args = parser.parse_args(argv)
    if args.leave_one_out:
        result = leave_one_out({n: read(folder_of(args.data), n) for n in (1, 2, 3)})
        print(json.dumps(result, indent=1))
        return result
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
