"""CPU seconds and peak memory of scoring cells, ours against cell-eval 0.8.2, in one run.

Data: simulated pair of screens (seed 0), the draws of tests/metrics/conftest.py: 100 perturbations
x 100 cells x 2,000 genes with 1,000 controls; with --large the energy distance alone at 50 x 200 x
18,080 with 2,000 controls. No split: both sides are given. cell-eval is measured where the variable
CELL_EVAL_PYTHON names the Python of an environment that has it; it is never imported here.

    CELL_EVAL_PYTHON=/path/to/venv/bin/python python -m benchmarks.metrics
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def make_pair(sizes: tuple[int, int, int, int], folder: Path) -> None:
    """Write real.h5ad and pred.h5ad: perturbations, cells each, genes, controls."""
    import anndata as ad
    import pandas as pd
    from scipy import sparse

    n_perturbations, n_cells, n_genes, n_control = sizes
    rng = np.random.default_rng(0)
    base = rng.gamma(0.6, 1.2, n_genes).astype(np.float32)

    def counts(mean: np.ndarray, n: int) -> sparse.csr_matrix:
        rate = rng.gamma(2.0, mean / 2.0, (n, n_genes))
        return sparse.csr_matrix(rng.poisson(rate).astype(np.float32))

    for name, noise in (("real", False), ("pred", True)):
        x, labels = [counts(base, n_control)], ["non-targeting"] * n_control
        for i in range(n_perturbations):
            own = np.random.default_rng(1000 + i)
            change = np.zeros(n_genes)
            k = own.integers(20, 300)
            at = own.choice(n_genes, k, replace=False)
            change[at] = own.normal(0, 0.8, k)
            change[i] = -3
            if noise:
                change = 0.6 * change + own.normal(0, 0.1, n_genes)
            x.append(counts(base * np.exp(change), n_cells))
            labels += [f"G{i}"] * n_cells
        matrix = sparse.vstack(x, format="csr")
        total = np.asarray(matrix.sum(1)).ravel()
        scale = np.median(total) / np.maximum(total, 1)
        matrix.data = np.log1p(matrix.data * np.repeat(scale, np.diff(matrix.indptr)))
        matrix.data = matrix.data.astype(np.float32)
        obs = pd.DataFrame({"target_gene": pd.Categorical(labels)})
        obs.index = obs.index.astype(str)
        var = pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
        ad.AnnData(matrix, obs=obs, var=var).write_h5ad(folder / f"{name}.h5ad")


def measure(command: list[str]) -> dict[str, object]:
    """CPU seconds, wall seconds and peak MB of a child process, and its last line as JSON."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    wrapper = (
        "import json,resource,subprocess,sys;"
        "r=subprocess.run(sys.argv[1:],stdout=subprocess.PIPE,text=True);"
        "print(r.stdout.strip().split(chr(10))[-1]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);sys.exit(r.returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", wrapper, *command], capture_output=True, text=True, check=False,
        env=os.environ | THREADS,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said, peak = done.stdout.rstrip("\n").split("\n")[-2:]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result: dict[str, object] = {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2),
                                 "peak_mb": round(int(peak) / 1000)}  # fmt: skip
    return result | ({"values": json.loads(said)} if said.startswith("{") else {})


def child_full(folder: str, references: str) -> None:
    """Score the pair by cell-eval's rules, all 28 metrics."""
    from perturbkit.cli.foreign import _clusters_without_plots
    from perturbkit.metrics.cells.run import score_cells
    from perturbkit.metrics.sides import ForeignOptions, read_side

    _clusters_without_plots()
    options = ForeignOptions(compat="cell-eval")
    sides = [read_side(Path(folder) / f"{n}.h5ad", options, n) for n in ("real", "pred")]
    scores = score_cells(
        sides[0], sides[1], rules="cell-eval", rng=np.random.default_rng(0),
        references=references == "yes",
    )  # fmt: skip
    print(json.dumps(dict(scores.table.select("metric", "value").rows())))


def child_edistance(folder: str) -> None:
    """Energy distances of both sides by cell-eval's definition, rows read as they are needed."""
    import anndata as ad
    import h5py
    import pandas as pd

    from perturbkit.metrics.cells.edistance import energy_distances, pearson_of_columns, take_rows
    from perturbkit.metrics.cells.pair import Cells

    parts = []
    for name in ("real", "pred"):
        with h5py.File(Path(folder) / f"{name}.h5ad") as file:
            labels = ad.io.read_elem(file["obs"])["target_gene"].astype(str)
            names = [n for n in sorted(set(labels)) if n != "non-targeting"]
            code = pd.Categorical(labels, categories=["non-targeting", *names]).codes
            x = ad.io.sparse_dataset(file["X"])
            cells = Cells(x, np.asarray(code, np.int64), np.arange(1, len(names) + 1))
            control = np.asarray(take_rows(x, cells.rows(0)).mean(0)).ravel()
            parts.append(energy_distances(cells, cells, control, distinct=False, within=None)[0])
    print(json.dumps({"pearson_edistance": pearson_of_columns(np.stack(parts, 1))}))


THEIR_EDISTANCE = """
import json, sys, anndata as ad
from cell_eval._types import PerturbationAnndataPair
from cell_eval.metrics._anndata import edistance
r, p = (ad.read_h5ad(f"{sys.argv[1]}/{n}.h5ad") for n in ("real", "pred"))
pair = PerturbationAnndataPair(real=r, pred=p, control_pert="non-targeting", pert_col="target_gene")
print(json.dumps({"pearson_edistance": float(edistance(pair))}))
"""


def compare(folder: Path, theirs: str | None, *, large: bool) -> dict[str, object]:
    """Measure both on one pair."""
    me = [sys.executable, "-m", "benchmarks.metrics", "--child"]
    result: dict[str, object] = {}
    if large:
        result["ours"] = measure([*me, "edistance", str(folder)])
        if theirs:
            result["cell_eval"] = measure([theirs, "-c", THEIR_EDISTANCE, str(folder)])
    else:
        measure([*me, "full", str(folder), "no"])  # compiles what numba caches
        result["ours"] = measure([*me, "full", str(folder), "no"])
        result["ours_with_baseline_and_ceiling"] = measure([*me, "full", str(folder), "yes"])
        if theirs:
            command = [str(Path(theirs).with_name("cell-eval")), "run", "-ap",
                       f"{folder}/pred.h5ad", "-ar", f"{folder}/real.h5ad", "--num-threads", "1",
                       "--profile", "full", "-o", f"{folder}/out"]  # fmt: skip
            result["cell_eval"] = measure(command)
    if theirs:
        ours, other = result["ours"], result["cell_eval"]
        assert isinstance(ours, dict)
        assert isinstance(other, dict)
        result["cpu_ratio"] = round(other["cpu_s"] / ours["cpu_s"], 1)
        result["memory_ratio"] = round(ours["peak_mb"] / other["peak_mb"], 2)
    else:
        result["skipped"] = "cell-eval: set CELL_EVAL_PYTHON to the Python of its environment"
    return result


def main(argv: list[str] | None = None) -> dict[str, object]:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--child", nargs="+", default=[])
    options = parser.parse_args(argv)
    if options.child:
        kind, *rest = options.child
        {"full": child_full, "edistance": child_edistance}[kind](*rest)
        return {}
    theirs = os.environ.get("CELL_EVAL_PYTHON")
    sizes = (50, 200, 18_080, 2_000) if options.large else (100, 100, 2_000, 1_000)
    with tempfile.TemporaryDirectory() as folder:
        make_pair(sizes, Path(folder))
        result = {"sizes": sizes, **compare(Path(folder), theirs, large=options.large)}
    print(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    main()
