"""Network methods on real interventions: Sachs 2005 (proteins) and yeast knock-outs (DE calls).

Sachs 2005: 11 phospho-proteins in 11,672 cells under 14 conditions, `sachs2005/sachs.csv` of the
shared data folder; the two of LY294002 (on PI3K, not measured) are left out. Cells stimulated by
anti-CD3/CD28, with or without ICAM-2, are the controls of inhibitors given with either; the
activators of PKC (PMA) and PKA (b2cAMP) were given without stimulation and have no control of
their own: they are compared with the first. Values are logged. Truth: the 17 edges that are
usually cited as known (Sachs et al. 2005, doi:10.1126/science.1105809, figure 3). Split: none.

Yeast: calls of differential expression (0 or 1) of single knock-outs of 82 transcription factors
(Sameith 2015), against YEASTRACT's documented edges and a gold standard. Those files name genes by
locus, the knock-outs by gene, and nothing there says which locus a gene is: the loci of 41 factors
were entered by hand and compared with public tables of yeast genes; the other factors are left out.
The kinases of van Wageningen 2010 are regulators in neither list, so they cannot be judged. Split:
none. Seed 0.
"""

import argparse
import json
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
from benchmarks.explain_dream4 import folder_of

from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen
from perturbkit.grn import GRN_METHODS
from perturbkit.grn.biological import biological
from perturbkit.grn.evaluate import against_truth
from perturbkit.grn.explain import strongest
from perturbkit.grn.hierarchy import against_hierarchy

SACHS_CONDITIONS = {
    1: ("control", "unknown", "a"), 2: ("control", "unknown", "b"),
    3: ("Akt", "drug", "a"), 10: ("Akt", "drug", "b"), 4: ("PKC", "drug", "a"),
    11: ("PKC", "drug", "b"), 5: ("PIP2", "drug", "a"), 12: ("PIP2", "drug", "b"),
    6: ("Mek", "drug", "a"), 13: ("Mek", "drug", "b"), 8: ("PKC", "crispra", "a"),
    9: ("PKA", "crispra", "a"),
}  # fmt: skip
"""Target, whether it is lowered or raised, and stimulation of each condition."""
NAMES = """
ASG1=YIL130W CAD1=YDR423C CBF1=YJR060W CIN5=YOR028C CST6=YIL036W CUP2=YGL166W CUP9=YPL177C
DAL81=YIR023W ECM22=YLR228C FKH2=YNL068C GAT1=YFL021W GLN3=YER040W GZF3=YJL110C HAC1=YFL031W
HCM1=YCR065W HMO1=YDR174W MET28=YIR017C MET31=YPL038W MIG1=YGL035C MIG2=YGL209W MIG3=YER028C
MSN2=YMR037C MSN4=YKL062W NRG1=YDR043C NRG2=YBR066C PHO2=YDL106C PPR1=YLR014C RIM101=YHL027W
RLM1=YPL089C ROX1=YPR065W RPH1=YER169W SUM1=YDR310C TYE7=YOR344C YAP1=YML007W YAP6=YDR259C
YHP1=YDR451C YOX1=YML027W YRR1=YOR162C ZAP1=YJL056C LYS14=YDR034C MAL33=YBR297W
"""
LOCI = dict(pair.split("=") for pair in NAMES.split())
"""Loci of the knocked-out factors."""
KNOWN = """PKC>Raf PKC>Mek PKC>JNK PKC>p38 PKC>PKA PKA>Raf PKA>Mek PKA>Erk PKA>Akt PKA>JNK PKA>p38
Raf>Mek Mek>Erk Erk>Akt PLCg>PIP2 PLCg>PIP3 PIP3>PIP2"""
"""The consensus network in its usual version of 17 edges."""


def sachs(folder: Path) -> tuple[Screen, Graph]:
    """Read the cells and the known edges."""
    table = pd.read_csv(folder / "sachs2005" / "sachs.csv", sep="\t")
    table = table[table["experiment"].isin(list(SACHS_CONDITIONS))].reset_index(drop=True)
    proteins = [c for c in table.columns if c != "experiment"]
    labels = [SACHS_CONDITIONS[int(e)] for e in table["experiment"]]
    obs = pd.DataFrame(labels, columns=["perturbation", "kind", "batch"])
    obs.index = obs.index.astype(str)
    values = np.log(table[proteins].to_numpy(np.float64))
    adata = ad.AnnData(values, obs, pd.DataFrame(index=proteins))
    edges = [tuple(e.split(">")) for e in KNOWN.split()]
    known = pl.DataFrame(edges, schema=["source", "target"], orient="row")
    return (Screen.of(adata, level="cells", unit="score"),
            Graph.of(known, directed=True, nodes=proteins))  # fmt: skip


def scored(methods: list[str], screen: Screen, truth: Graph, n_true: int) -> dict[str, dict]:
    """Return the scores of every method that takes the screen."""
    perturbed = [t for t in screen.targets if t in truth.nodes]
    rows = {}
    for name in methods:
        card = GRN_METHODS[name]
        if card.max_genes is not None and len(screen.readouts) > card.max_genes:
            continue
        start = time.process_time()
        graph = card.fn(screen, np.random.default_rng(0))
        all_pairs = against_truth(graph, truth)
        of_perturbed = against_truth(graph, truth, sources=perturbed)
        order = against_hierarchy(strongest(graph, n_edges=n_true), truth)
        rows[name] = {
            "auroc": all_pairs["auroc"], "auprc": all_pairs["auprc"], "shd": all_pairs["shd"],
            "auroc of perturbed": of_perturbed["auroc"],
            "auprc of perturbed": of_perturbed["auprc"],
            "prevalence of perturbed": of_perturbed["prevalence"],
            "kendall tau": order["kendall_tau"], "cpu seconds": time.process_time() - start,
        }  # fmt: skip
    return rounded(rows)


def rounded(rows: dict[str, dict]) -> dict[str, dict]:
    return {k: {a: round(float(b), 3) for a, b in row.items()} for k, row in rows.items()}


def yeast_screen(path: Path) -> Screen:
    """Read calls of single knock-outs as profiles: 0 for the control, 1 where a gene moved."""
    table = pd.read_csv(path, index_col=0)
    table = table[[c for c in table.columns if c in LOCI or c in table.index]]
    table = table.rename(columns=LOCI)
    names = ["control", *table.columns]
    values = np.concatenate([np.zeros((1, len(table))), table.to_numpy(np.float64).T])
    obs = pd.DataFrame({"perturbation": names}, index=names)
    adata = ad.AnnData(values, obs, pd.DataFrame(index=table.index))
    return Screen.of(adata, level="profiles", unit="score", constants={"kind": "ko"})


def yeast(folder: Path, methods: list[str]) -> dict:
    """Score the knock-outs of transcription factors against both lists of edges."""
    screen = yeast_screen(folder / "yeast" / "sameith2015_binary_DE.csv.gz")
    result: dict = {"knock-outs": len(screen.targets), "readouts": len(screen.readouts)}
    for standard in ("yeastract_edges", "gold_edges"):
        edges = pl.read_csv(folder / "yeast" / f"{standard}.csv.gz").rename({"tf": "source"})
        known = Graph.of(edges, directed=True)
        for method in methods:
            card = GRN_METHODS[method]
            if not card.interventional or (card.max_genes or 10**9) < len(screen.readouts):
                continue
            graph = card.fn(screen, np.random.default_rng(0))
            genes = (screen.targets, screen.readouts)
            result[f"{standard}, {method}"] = biological(
                graph, known, genes, np.random.default_rng(0)
            )[0]
    return result


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=None)
    parser.add_argument("--methods", nargs="*", default=list(GRN_METHODS))
    parser.add_argument("--only", nargs="*", default=["sachs", "yeast"])
    args = parser.parse_args(argv)
    folder, result = folder_of(args.data), {}
    if "sachs" in args.only:
        screen, truth = sachs(folder)
        result["sachs 2005"] = scored(args.methods, screen, truth, truth.n_edges)
    if "yeast" in args.only:
        result["yeast"] = yeast(folder, args.methods)
    print(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
