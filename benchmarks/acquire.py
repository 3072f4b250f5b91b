"""Seconds to choose 384 of 18,000 conditions, every acquisition function, 8 members, 64 features.

Data: random predictions and features, a random network of six edges a node; seed 0. One thread;
CPU time beside wall time, since other work may run. Then the fit of every surrogate to 512 outcomes
over the same 18,000, stated apart (`--surrogate` names some; those that need torch take longer).
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import sparse

from perturbkit.design.acquire import ACQUISITIONS, History
from perturbkit.design.knowledge import Knowledge
from perturbkit.design.policy import as_responses
from perturbkit.design.surrogate import SURROGATES

N, MEMBERS, WIDTH, K = 18_000, 8, 64, 384

FITS = ("bayes_ridge", "gp", "trees", "committee", "graph_kernels")


def timed(work: Callable[[], object]) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {"cpu_s": round(time.process_time() - cpu, 2),
            "wall_s": round(time.perf_counter() - wall, 2)}  # fmt: skip


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--function", action="append", choices=list(ACQUISITIONS))
    parser.add_argument("--surrogate", action="append", choices=list(SURROGATES))
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, WIDTH)).astype(np.float32)
    responses = as_responses([f"G{i}" for i in range(N)], rng.normal(size=(MEMBERS, N)))
    ends = rng.integers(N, size=(2, 3 * N))
    a = sparse.csr_array((np.ones(3 * N, np.float32), ends), shape=(N, N))
    taken = np.arange(N) < 512
    outcome = np.where(taken, rng.normal(size=N), np.nan)
    network = sparse.csr_array(a + a.T)
    history = History(
        taken, outcome, x, network, hit_above=1.0,
        essential=np.arange(N) % 10 == 0, kernels=(x,),
    )  # fmt: skip
    known = Knowledge(x, {"network": network}, x[:, 0].astype(np.float64), sources=(x, x[:, ::-1]))
    found: dict[str, dict] = {"choose": {}, "fit": {}}
    for name in options.function or ACQUISITIONS:
        card = ACQUISITIONS[name]
        rng = np.random.default_rng(0)
        found["choose"][name] = timed(partial(card.fn, responses, K, rng, history=history))
    for name in options.surrogate or FITS:
        fit = partial(SURROGATES[name].fn, known, outcome, np.random.default_rng(0))
        found["fit"][name] = timed(fit)
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
