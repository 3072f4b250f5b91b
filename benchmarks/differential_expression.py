"""Time of rank-sum differential expression beside a scipy loop and illico.

Data: the screen that `benchmarks.prepare` generates (500 perturbations, 5,000 genes, 10 % non-zero,
5 % controls), no split, seed 0. Each contender starts from the normalized matrix in memory.
The scipy loop (`mannwhitneyu(method="asymptotic")`, dense columns given to it for free) is timed on
`--sample` random pairs of perturbation and gene and multiplied up to all pairs; their p-values are
compared. Seconds are of the process's CPU time and of the wall; one thread each.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
from benchmarks.prepare import generate
from scipy import stats


def timed(fn) -> tuple[object, dict[str, float]]:
    start, cpu = time.perf_counter(), time.process_time()
    value = fn()
    return value, {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def ours(x_ng, label_n: np.ndarray):
    from perturbkit.data.ranksum import rank_sums

    return rank_sums(x_ng, label_n, int(label_n.max())).p_value_pg


def loop(x_csc, label_n: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the p-values of the pairs, and the seconds of the tests alone."""
    control, p_values, seconds, cpu = label_n == 0, [], 0.0, 0.0
    for p, g in pairs:
        column = x_csc[:, [g]].toarray().ravel().astype(float)
        a, b = column[label_n == p], column[control]
        start, start_cpu = time.perf_counter(), time.process_time()
        p_values.append(stats.mannwhitneyu(a, b, method="asymptotic").pvalue)
        seconds += time.perf_counter() - start
        cpu += time.process_time() - start_cpu
    return np.array(p_values), seconds, cpu


def illico(x_ng, names: np.ndarray):
    from illico import asymptotic_wilcoxon

    adata = ad.AnnData(x_ng)
    adata.obs["label"] = names
    return asymptotic_wilcoxon(adata, is_log1p=True, group_keys="label", reference="0")


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--file", type=Path, default=None)
    options = parser.parse_args(argv)
    from perturbkit.data.de import log_normalized

    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "cells.h5ad"
        if not path.exists():
            generate(path, options.cells, options.genes, np.random.default_rng(0))
        adata = ad.read_h5ad(path)
    codes = adata.obs["perturbation"].cat.codes.to_numpy().astype(np.int64)
    control = list(adata.obs["perturbation"].cat.categories).index("control")
    label_n = np.where(codes == control, 0, np.where(codes < control, codes + 1, codes))
    x_ng = log_normalized(adata.X)
    del adata
    ours(x_ng[:2000], np.arange(2000) % 3)  # compile
    p_value_pg, first = timed(lambda: ours(x_ng, label_n))
    x_csc = x_ng.tocsc()
    rng = np.random.default_rng(1)
    n_p, n_g = p_value_pg.shape
    pairs = np.c_[rng.integers(1, n_p + 1, options.sample), rng.integers(0, n_g, options.sample)]
    expected, seconds, cpu = loop(x_csc, label_n, pairs)
    found = p_value_pg[pairs[:, 0] - 1, pairs[:, 1]]
    del x_csc
    result = {
        "cells": int(x_ng.shape[0]), "values": int(x_ng.nnz), "tests": n_p * n_g,
        "ours": first,
        "scipy_loop": {"sampled_pairs": options.sample,
                       "seconds": seconds / options.sample * n_p * n_g,
                       "cpu_seconds": cpu / options.sample * n_p * n_g},
        "largest_relative_difference_of_p": float(np.max(np.abs(found / expected - 1))),
    }  # fmt: skip
    try:
        illico(x_ng[:2000], (np.arange(2000) % 3).astype(str))
        _, result["illico"] = timed(lambda: illico(x_ng, label_n.astype(str)))
    except ImportError as error:
        result["illico"] = {"failed": str(error)}
    result["times_faster_than_loop"] = result["scipy_loop"]["cpu_seconds"] / first["cpu_seconds"]
    print(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    main()
