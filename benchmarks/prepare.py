"""Time and memory of `prepare` beside scanpy, on the same generated screen and machine.

Data: generated; `--cells` x 5,000 genes, 10 % non-zero counts, 500 perturbations and controls in
one context and two batches; h5ad, CSR, uncompressed. No split, seed 0. Every contender runs in
its own process; wall time is from before reading to the statistics in memory, imports and
compilation excluded (each reads a small file first); peak memory is that of its process.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

N_PERTURBATIONS, N_BATCHES, SHARE = 500, 2, 0.1


def generate(path: Path, n_cells: int, n_genes: int, rng: np.random.Generator) -> None:
    """Write a screen chunk by chunk; the matrix is never in memory."""
    import anndata as ad
    import pandas as pd
    from scipy import sparse

    label = rng.integers(0, int(N_PERTURBATIONS * 1.05), n_cells)  # 5 % controls
    names = np.array([f"G{i}" for i in range(N_PERTURBATIONS)] + ["control"], object)
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(names[np.minimum(label, N_PERTURBATIONS)]),
            "batch": pd.Categorical(rng.integers(0, N_BATCHES, n_cells).astype(str)),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
    empty = sparse.csr_matrix((n_cells, n_genes), dtype=np.float32)
    ad.AnnData(empty, obs=obs, var=var).write_h5ad(path)
    weight = rng.lognormal(0, 1.2, n_genes)
    share_g = np.minimum(weight / weight.mean() * SHARE, 0.95)
    with h5py.File(path, "a") as file:
        group = file["X"]
        for name in ("data", "indices", "indptr"):
            del group[name]
        total = int(share_g.sum() * n_cells * 1.02) + n_genes
        data = group.create_dataset("data", (total,), np.float32, maxshape=(None,))
        indices = group.create_dataset("indices", (total,), np.int32, maxshape=(None,))
        pointers, at = [0], 0
        for low in range(0, n_cells, 5000):
            n = min(5000, n_cells - low)
            row, column = np.nonzero(rng.random((n, n_genes), np.float32) < share_g)
            stop = at + row.size
            data[at:stop] = rng.geometric(0.55, row.size).astype(np.float32)
            indices[at:stop] = column.astype(np.int32)
            pointers.extend((at + np.cumsum(np.bincount(row, minlength=n))).tolist())
            at = stop
        data.resize((at,))
        indices.resize((at,))
        group.create_dataset("indptr", data=np.array(pointers, np.int64))


def ours(path: Path) -> dict:
    from perturbkit.data.prepare.settings import PrepareConfig
    from perturbkit.data.prepare.sources import open_sources, plan
    from perturbkit.data.prepare.stream import stream_cells

    config = PrepareConfig(unit="counts")
    sources = open_sources([path], config)
    size = plan(sources, config)
    with tempfile.TemporaryDirectory() as folder:
        stats, _ = stream_cells(sources, config, size, Path(folder), lambda *_: None)
    keys = [f"{sources.conditions[c].perturbation}|{sources.batches[b]}"
            for c, b in zip(sources.condition_k, sources.batch_k, strict=True)]  # fmt: skip
    return {"keys": keys, "n": stats.n_k, "mean": stats.mean_kg, "var": stats.var_kg,
            "fraction": stats.fraction_kg}  # fmt: skip


def whole(path: Path) -> dict:
    """Run the command: statistics, profiles, batch profiles and differential expression."""
    from perturbkit.data.prepare import PrepareConfig, prepare

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        screen = prepare([path], Path(folder) / "out", PrepareConfig(unit="counts"))
        return {"rows": screen.adata.n_obs}


def rank_sums(path: Path) -> dict:
    """Stream the rank-sum tests of every perturbation from the file to a table."""
    from perturbkit.data.prepare import PrepareConfig, stream_de

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        stream_de([path], Path(folder) / "de.parquet", PrepareConfig(unit="counts", de="wilcoxon"))
    return {}


def _scanpy(path: Path):
    import scanpy as sc

    adata = sc.read_h5ad(path)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs["key"] = adata.obs["perturbation"].astype(str) + "|" + adata.obs["batch"].astype(str)
    return adata


def pandas(path: Path) -> dict:
    """Do the same with scanpy and a pandas group-by."""
    adata = _scanpy(path)
    frame = adata.to_df()
    groups = frame.groupby(adata.obs["key"].to_numpy())
    mean, var = groups.mean(), groups.var()
    fraction = (frame > 0).groupby(adata.obs["key"].to_numpy()).mean()
    n = groups.size()
    return {"keys": list(mean.index), "n": n.to_numpy(), "mean": mean.to_numpy(),
            "var": var.to_numpy(), "fraction": fraction.to_numpy()}  # fmt: skip


def aggregate(path: Path) -> dict:
    """Do the same with scanpy.get.aggregate."""
    import scanpy as sc

    adata = _scanpy(path)
    out = sc.get.aggregate(adata, by="key", func=["mean", "var", "count_nonzero"])
    n = adata.obs["key"].value_counts().loc[out.obs_names].to_numpy()
    return {
        "keys": list(out.obs_names),
        "n": n,
        "mean": out.layers["mean"],
        "var": out.layers["var"],
        "fraction": out.layers["count_nonzero"] / n[:, None],
    }


CONTENDERS = {
    "ours": ours, "whole": whole, "rank_sums": rank_sums, "aggregate": aggregate, "pandas": pandas,
}  # fmt: skip


def child(name: str, path: Path, out: Path) -> None:
    """Run one contender in this process and write its numbers."""
    fn = CONTENDERS[name]
    fn(path.with_name("warm.h5ad"))  # imports and compilation
    start, start_cpu = time.perf_counter(), time.process_time()
    result = fn(path)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if "keys" in result:
        np.savez(out, **{k: np.asarray(v) for k, v in result.items()})
    sys.stdout.write(
        json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak / 1e6}) + "\n"
    )


def measure(name: str, path: Path, out: Path) -> dict:
    """Run one contender in its own process."""
    command = [sys.executable, "-m", "benchmarks.prepare", "--child", name, str(path), str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        return {"failed": (done.stderr.strip() or f"signal {-done.returncode}")[-300:]}
    return json.loads(done.stdout.splitlines()[-1])


def available() -> float:
    """Return the bytes of memory that are free for a process."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * float(next(x for x in lines if x.startswith("MemAvailable")).split()[1])


def differences(a: Path, b: Path) -> dict[str, float]:
    """Return the largest difference of each statistic, relative to 1 + its size."""
    with np.load(a) as first, np.load(b) as second:
        order = [list(first["keys"]).index(k) for k in second["keys"]]
        return {
            name: float(np.nanmax(np.abs(first[name][order] - second[name])
                                  / (1 + np.abs(second[name]))))
            for name in ("n", "mean", "var", "fraction")
        }  # fmt: skip


def plot(result: dict, path: Path) -> None:
    """Draw memory and time of `prepare` against the number of cells."""
    from matplotlib.figure import Figure

    runs = sorted((int(n), run) for n, run in result["scaling"].items())
    cells = [n / 1000 for n, _ in runs]
    figure = Figure(figsize=(8, 3), layout="constrained")
    memory, time_ = figure.subplots(1, 2)
    memory.plot(cells, [run["peak_mb"] for _, run in runs], "o-", color="#0072B2")
    memory.set(xlabel="cells (thousands)", ylabel="peak memory (MB)", ylim=(0, None))
    values = [run["values"] / 1e6 for _, run in runs]
    time_.plot(values, [run["cpu_seconds"] for _, run in runs], "o-", color="#D55E00")
    time_.set(
        xlabel="stored values (millions)", ylabel="CPU seconds", xlim=(0, None), ylim=(0, None)
    )
    figure.savefig(path, metadata={"Date": None})


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, nargs="*", default=[50_000, 100_000, 200_000, 400_000])
    parser.add_argument("--compare-at", type=int, nargs="*", default=[100_000, 200_000])
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--folder", type=Path, default=None, help="where to keep generated files")
    parser.add_argument("--plot", type=Path, default=None, help="draw the scaling to this file")
    parser.add_argument("--child", nargs=3, default=None)
    options = parser.parse_args(argv)
    if options.child:
        child(options.child[0], Path(options.child[1]), Path(options.child[2]))
        return {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        generate(folder / "warm.h5ad", 3000, 200, np.random.default_rng(1))
        result: dict = {"scaling": {}, "comparison": {}}
        for n in sorted({*options.cells, *options.compare_at}):
            path = folder / f"cells{n}.h5ad"
            if not path.exists():
                generate(path, n, options.genes, np.random.default_rng(0))
            with h5py.File(path) as file:
                values = int(file["X/data"].shape[0])
            names = CONTENDERS if n in options.compare_at else ("ours",)
            for name in names:
                out = folder / f"{name}.npz"
                if name == "pandas" and available() < 90e3 * n:
                    found = {"failed": f"skipped: needs about {90e-6 * n:.0f} GB of memory"}
                else:
                    found = measure(name, path, out) | {"values": values}
                if n in options.compare_at:
                    result["comparison"].setdefault(n, {})[name] = found
                    if name in ("aggregate", "pandas") and "failed" not in found:
                        found["difference"] = differences(folder / "ours.npz", out)
                if name == "ours":
                    result["scaling"][n] = found
    if options.plot:
        plot(result, options.plot)
    print(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    main()
