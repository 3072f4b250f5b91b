"""Effects on held-out cells: autoencoders of cells against means of the training cells.

Data: Papalexi 2021 (20,729 cells x 299 genes, 25 knock-outs) and simulator presets:
`planted_edges` (5,000 cells x 1,000 genes x 100 perturbations, about 1,000 counts a cell) and
`demo` (12,600 cells x 300 genes x 80 perturbations in 3 contexts). Split: the cells of each
condition, controls too, are divided 80 to 20 at random, anew for each seed; for simulated screens
the seed draws the screen as well. Score: correlation over perturbations x readouts of the predicted
difference from the context's control with that of the test cells alone. Ceilings: root of the
reliability of the test cells (mean over 20 random halves), which only the truth can reach; and,
where it is known, the truth itself.

How effects are estimated was chosen among a dozen ways by inner splits of four fifths of Papalexi's
cells, so most of these test cells took part in that choice, and on simulated screens of seeds 10
and above.
"""

import argparse
import json

import numpy as np
from benchmarks.explain_dream4 import folder_of
from benchmarks.vae import data_of, fitted
from scipy.stats import t

from perturbkit.core.condition import condition_keys
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.data.screens import open_screen
from perturbkit.data.simulate import preset, simulate
from perturbkit.data.store import CellStore, store_of
from perturbkit.models.vae.shrinkage import shrink, shrink_together

RIVAL = "train mean, shrunken by perturbation (James-Stein)"
MODELS_COMPARED = ("sams_vae", "cpa_vae")
N_HALVES = 20


class Cells:
    """Some cells of a screen and the differences of their means from the control's."""

    def __init__(self, values_ng: np.ndarray, code_n: np.ndarray, control_c: np.ndarray) -> None:
        self.values_ng, self.code_n, self.control_c = values_ng, code_n, control_c
        self.n_c = np.bincount(code_n)
        self.perturbed = np.arange(len(self.n_c)) != control_c

    def of(self, kept: np.ndarray) -> "Cells":
        return Cells(self.values_ng[kept], self.code_n[kept], self.control_c)

    def sums(self, values_ng: np.ndarray) -> np.ndarray:
        total = np.zeros((len(self.n_c), values_ng.shape[1]))
        np.add.at(total, self.code_n, values_ng)
        return total

    def delta(self) -> np.ndarray:
        mean = self.sums(self.values_ng) / self.n_c[:, None]
        return (mean - mean[self.control_c])[self.perturbed]

    def error(self) -> np.ndarray:
        """Standard errors of the differences, each condition with its own variance."""
        mean = self.sums(self.values_ng) / self.n_c[:, None]
        within = self.sums((self.values_ng - mean[self.code_n]) ** 2)
        square = within / np.maximum(self.n_c - 1, 1)[:, None] / self.n_c[:, None]
        return np.sqrt(np.maximum(square + square[self.control_c], 1e-8))[self.perturbed]


def cells_of(screen: Screen) -> tuple[Cells, CellStore]:
    store = store_of(screen)
    table = store.conditions
    context = table["context"].to_list()
    where = {context[i]: i for i in np.flatnonzero(table["perturbation"] == "control")}
    values = store.dense(np.arange(store.n_cells), log=True).astype(np.float64)
    code = store.arrays["condition"].astype(np.int64)
    return Cells(values, code, np.array([where[c] for c in context])), store


def divided(code_n: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Choose a share of the cells of each condition, at least one."""
    chosen = np.zeros(len(code_n), bool)
    for c in range(int(code_n.max()) + 1):
        mine = rng.permutation(np.flatnonzero(code_n == c))
        chosen[mine[: max(1, round(share * len(mine)))]] = True
    return chosen


def reliability(test: Cells, rng: np.random.Generator) -> float:
    """Return the share of the test differences' variance that is not noise."""
    found = []
    for _ in range(N_HALVES):
        half = divided(test.code_n, 0.5, rng)
        found.append(correlation(test.of(half).delta(), test.of(~half).delta()))
    r = float(np.mean(found))
    return 2 * r / (1 + r)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def held_out(screen: Screen, seed: int, n_epochs: int, truth: Responses | None) -> dict:
    """Return the correlation of each prediction with the test cells, and with the truth."""
    everything, store = cells_of(screen)
    control, table = everything.control_c, store.conditions
    rng = np.random.default_rng(seed)
    held = divided(everything.code_n, 0.2, rng)
    train, test = everything.of(~held), everything.of(held)
    reference, raw, error = test.delta(), train.delta(), train.error()
    signal = np.maximum(1 - (error**2).sum(1) / np.maximum((raw**2).sum(1), 1e-12), 0)
    said = {
        "train mean": raw,
        RIVAL: raw * signal[:, None],
        "train mean, shrunken by readout (adaptive)": shrink(raw, error),
        "global train mean": np.broadcast_to(raw.mean(0), raw.shape),
    }
    # the store groups cells by condition; `source` is each cell's row in the screen
    rows_seen = np.sort(store.arrays["source"][~held])
    seen = Screen(screen.adata[rows_seen].copy(), screen.level, screen.unit)
    cells = data_of(seen)
    for name in MODELS_COMPARED:
        model, _, _ = fitted(name, cells, {}, n_epochs)
        for residual in (True, False):
            model.config = model.config.replace(residual=residual)
            mean = model.predict(table).mean_cg
            said[name if residual else f"{name}, decoder alone"] = (
                (mean - mean[control])[everything.perturbed]
            )  # fmt: skip
    result = {n: correlation(p, reference) for n, p in said.items()}
    result["ceiling: root of the test cells' reliability"] = float(np.sqrt(reliability(test, rng)))
    if truth is not None:
        true = truth.at(condition_keys(table)).mean_cg
        true = (true - true[control])[everything.perturbed]
        result["ceiling: the truth"] = correlation(true, reference)
        result |= {f"with the truth: {n}": correlation(p, true) for n, p in said.items()}
    return result


def resampled(screen: Screen, n_draws: int) -> dict:
    """Return how near the truth an estimate comes where cells are drawn around known effects.

    The effects are those estimated from all cells of the screen; each cell is a condition's mean
    plus the residual of a cell of that condition. Four fifths of the cells are estimated from. One
    context only.
    """
    cells, _ = cells_of(screen)
    true = np.zeros((len(cells.n_c), cells.values_ng.shape[1]))
    true[cells.perturbed] = shrunken(cells)
    mean = cells.sums(cells.values_ng) / cells.n_c[:, None]
    residual = cells.values_ng - mean[cells.code_n]
    rows = [np.flatnonzero(cells.code_n == c) for c in range(len(cells.n_c))]
    found = []
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)
        drawn = np.concatenate([rng.choice(r, len(r)) for r in rows])
        code = cells.code_n[drawn]
        held = divided(code, 0.2, rng)
        world = Cells(true[code] + residual[drawn], code, cells.control_c)
        estimate, test = shrunken(world.of(~held)), world.of(held).delta()
        known = true[cells.perturbed]
        found.append([correlation(estimate, known), correlation(estimate, test),
                      correlation(known, test)])  # fmt: skip
    names = ("estimate with the truth", "estimate with the test cells", "truth with the test cells")
    return {n: round(float(v), 4) for n, v in zip(names, np.mean(found, 0), strict=True)}


def shrunken(cells: Cells) -> np.ndarray:
    """Return effects shrunken along what conditions share, of one context."""
    mean = cells.sums(cells.values_ng) / cells.n_c[:, None]
    spread = ((cells.values_ng - mean[cells.code_n]) ** 2).sum(0) / len(cells.code_n)
    n_0 = float(cells.n_c[cells.control_c[0]])
    return shrink_together(cells.delta(), spread, cells.n_c[cells.perturbed], n_0)


def summary(runs: list[dict]) -> dict:
    """Return mean and range over seeds, and the paired gain over the rival with its interval."""
    table = {n: [r[n] for r in runs] for n in runs[0]}
    rows = {n: [round(float(f(v)), 4) for f in (np.mean, np.min, np.max)]
            for n, v in table.items()}  # fmt: skip
    gains = {}
    for name in MODELS_COMPARED:
        gain = np.array(table[name]) - np.array(table[RIVAL])
        found = [gain.mean()]
        if len(gain) > 1:  # one seed has no interval
            half = gain.std(ddof=1) / np.sqrt(len(gain)) * t.ppf(0.975, len(gain) - 1)
            found += [gain.mean() - half, gain.mean() + half]
        gains[name] = [round(float(v), 4) for v in found]
    return {"mean, lowest, highest": rows, "gain over James-Stein, 95 % interval": gains}


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=None)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=12)
    screens = ["papalexi", "planted_edges", "demo"]
    parser.add_argument("--screens", nargs="*", default=screens, choices=screens)
    parser.add_argument("--times", type=int, default=1, help="so many times the cells of presets")
    parser.add_argument("--resample", type=int, default=0, help="only draw cells around known "
                        "effects of Papalexi 2021, so many times")  # fmt: skip
    args = parser.parse_args(argv)
    place = folder_of(args.data) / "papalexi2021" / "papalexi2021_eccite_299genes.h5ad"
    if args.resample:
        result = {"resampled Papalexi": resampled(open_screen(place), args.resample)}
        print(json.dumps(result, indent=1))
        return result
    result = {}
    for name in args.screens:
        runs = []
        for seed in args.seeds:
            if name == "papalexi":
                screen, truth = open_screen(place), None
            else:
                settings = preset(name)
                world = simulate(
                    settings.replace(n_cells=args.times * settings.n_cells,
                                     n_control_cells=args.times * settings.n_control_cells),
                    np.random.default_rng(seed))  # fmt: skip
                screen, truth = world.screen, world.responses
            runs.append(held_out(screen, seed, args.epochs, truth))
            print(json.dumps({"screen": name, "seed": seed, **runs[-1]}), flush=True)
        result[name] = summary(runs)
        print(json.dumps({name: result[name]}, indent=1), flush=True)
    return result


if __name__ == "__main__":
    main()
