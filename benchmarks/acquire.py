"""Seconds to choose 384 of 18,000 conditions, every acquisition function, 8 members, 64 features.

Data: random predictions and features, a random network of six edges a node; seed 0. One thread;
CPU time beside wall time, since other work may run.
"""

import argparse
import json
import time

import numpy as np
from scipy import sparse

from perturbkit.design.acquire import ACQUISITIONS, History
from perturbkit.design.policy import as_responses

N, MEMBERS, WIDTH, K = 18_000, 8, 64, 384


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--function", action="append", choices=list(ACQUISITIONS))
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, WIDTH)).astype(np.float32)
    responses = as_responses([f"G{i}" for i in range(N)], rng.normal(size=(MEMBERS, N)))
    ends = rng.integers(N, size=(2, 3 * N))
    a = sparse.csr_array((np.ones(3 * N, np.float32), ends), shape=(N, N))
    taken = np.arange(N) < 512
    outcome = np.where(taken, rng.normal(size=N), np.nan)
    history = History(
        taken, outcome, x, sparse.csr_array(a + a.T), hit_above=1.0,
        essential=np.arange(N) % 10 == 0, kernels=(x,),
    )  # fmt: skip
    found = {}
    for name in options.function or ACQUISITIONS:
        card = ACQUISITIONS[name]
        cpu, wall = time.process_time(), time.perf_counter()
        card.fn(responses, K, np.random.default_rng(0), history=history)
        found[name] = {"cpu_s": round(time.process_time() - cpu, 2),
                       "wall_s": round(time.perf_counter() - wall, 2)}  # fmt: skip
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
