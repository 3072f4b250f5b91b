"""Cells a second in truly shuffled dense batches, beside random rows of the h5ad itself.

Data: the screen that `benchmarks.prepare` generates (200,000 cells x 5,000 genes, 10 % non-zero),
no split, seed 0; both read from the page cache. A batch is `--batch` cells at random from all,
dense float32, as counts and normalized to log1p per ten thousand. One thread.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
from benchmarks.prepare import generate


def rate(read, batches, n_cells: int) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        read(batch)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    return {"cells_per_second": n_cells / seconds, "cells_per_cpu_second": n_cells / used}


def times(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    return {name: a[name] / b[name] for name in a}


def _log(x_ng):
    from perturbkit.data.de import log_normalized

    return log_normalized(x_ng).toarray()


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--file", type=Path, default=None)
    options = parser.parse_args(argv)
    from perturbkit.data.prepare import PrepareConfig
    from perturbkit.data.store import ShuffledCells, write_store

    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "cells.h5ad"
        if not path.exists():
            generate(path, options.cells, options.genes, np.random.default_rng(0))
        start = time.perf_counter()
        store = write_store([path], Path(folder) / "store", PrepareConfig(unit="counts"))
        written = time.perf_counter() - start
        size = sum(p.stat().st_size for p in (Path(folder) / "store").iterdir())
        shuffled = ShuffledCells(store.n_cells, options.batch, 0)
        batches = list(shuffled.epoch(0))
        store.dense(batches[0], log=True)  # compile
        ours = rate(lambda b: store.dense(b, log=True), batches, len(batches) * options.batch)
        adata = ad.read_h5ad(path, backed="r")
        raw = rate(store.dense, batches, len(batches) * options.batch)
        few = batches[:8]
        theirs = rate(lambda b: adata[np.sort(b)].X.toarray(), few, len(few) * options.batch)
        theirs_log = rate(lambda b: _log(adata[np.sort(b)].X), few, len(few) * options.batch)
        source = store.arrays["source"]
        same = np.array_equal(store.dense(np.argsort(source, kind="stable")[:50]),
                              adata[:50].X.toarray())  # fmt: skip
        adata.file.close()
    result = {
        "cells": store.n_cells, "readouts": len(store.readouts), "batch": options.batch,
        "store_normalized": ours, "store": raw, "h5ad": theirs, "h5ad_normalized": theirs_log,
        "equal": bool(same),
        "times_faster_normalized": times(ours, theirs_log), "times_faster": times(raw, theirs),
        "write_seconds": written, "store_mb": size / 1e6, "h5ad_mb": path.stat().st_size / 1e6
        if path.exists() else None,
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    main()
