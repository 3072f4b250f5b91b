"""The cell embedding: hidden genes of Papalexi cells, speed against a plain one, memory.

Run by `benchmarks.state`; data and settings are in the docstrings.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.knowledge_effects import data_folder
from torch import nn
from torch.nn import functional

from perturbkit.core.rng import named_rng
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.screens import open_screen
from perturbkit.data.store import CellStore, store_of
from perturbkit.metrics.bootstrap import draw_weights, interval
from perturbkit.metrics.pearson import pearson_rows
from perturbkit.models.state_embedding import (
    SentenceBatch,
    StateEmbedding,
    StateEmbeddingConfig,
    published_sizes,
)
from perturbkit.train.config import TrainConfig
from perturbkit.train.sentences import SentenceSource, fit_embedding

PAPALEXI = "papalexi2021/papalexi2021_eccite_299genes.h5ad"
SMALL = StateEmbeddingConfig(
    d_model=64, nhead=2, d_hid=128, nlayers=2, sentence_length=128, n_asked=64
)


def masked(n_epochs: int = 4) -> None:
    """Papalexi: 64 of 299 genes hidden from a cell, predicted from the 128 that are left.

    2,048 cells that were not trained on. Against the mean of each gene over training cells: cell
    by cell over its 64 genes, and gene by gene over cells, where the mean says nothing.
    """
    cells = store_of(open_screen(str(data_folder() / PAPALEXI)))
    schedule = TrainConfig(n_epochs=n_epochs, batch_cells=64, learning_rate=2e-3)
    model = fit_embedding(cells, SMALL, schedule, 0)
    held = named_rng(0, "cells", "held out").permutation(cells.n_cells)[:2048]
    source = SentenceSource(cells, held, SMALL, 64, 0)
    batch = source.batch(held, named_rng(1, "masked"), torch.device("cpu"))
    with torch.no_grad():
        predicted = model.predict_asked(batch)[0].numpy()
    truth = batch.truth.numpy()
    mean = np.tile(model.offset[batch.asked].numpy(), (len(truth), 1))
    per_cell = pearson_rows(truth, predicted) - pearson_rows(truth, mean)
    per_gene = pearson_rows(truth.T, predicted.T)
    print(json.dumps({
        "cells": len(truth), "genes hidden": truth.shape[1],
        "per cell, model": round(float(np.nanmean(pearson_rows(truth, predicted))), 4),
        "per cell, gene mean": round(float(np.nanmean(pearson_rows(truth, mean))), 4),
        "per cell, difference": with_interval(per_cell),
        "per gene over cells (gene mean: 0)": with_interval(per_gene),
        "squared error, model / gene mean":
            round(float(((predicted - truth) ** 2).mean() / ((mean - truth) ** 2).mean()), 4),
        **dependence(model, cells, held[:256]),
    }), flush=True)  # fmt: skip


def with_interval(values: np.ndarray) -> list[float]:
    values = values[~np.isnan(values)]
    weights = draw_weights(np.arange(len(values)).astype(str), 1000, named_rng(0, "interval"))
    low, high = interval(values[:, None], weights, 0.95)[:, 0]
    return [round(float(v), 4) for v in (values.mean(), low, high)]


@torch.no_grad()
def dependence(model: StateEmbedding, cells: CellStore, rows: np.ndarray) -> dict[str, float]:
    """How far the vector of a cell moves when its genes are replaced, or only permuted."""
    x = torch.from_numpy(cells.dense(rows, log=True))
    values, genes = x.topk(100, 1)
    table, rng = model.tokens(), named_rng(0, "replace")
    z = model.encode(table, genes, values)[0]
    other = torch.from_numpy(np.stack([rng.permutation(x.shape[1])[:100] for _ in rows]))
    order = torch.from_numpy(rng.permutation(100))
    moved = [
        float((model.encode(table, g, v)[0] - z).norm(dim=1).mean())
        for g, v in ((other, values), (genes[:, order], values[:, order]))
    ]
    apart = float((z - z.roll(1, 0)).norm(dim=1).mean())
    return {"|z| moves, genes replaced": round(moved[0], 4),
            "|z| moves, tokens permuted": round(moved[1], 7),
            "distance of two cells": round(apart, 4)}  # fmt: skip


class Plain(nn.Module):
    """The published layout, restated: every token and every pair materialised, float32.

    Features pass the encoder token by token, attention materialises its weights, every position
    is computed in every layer, and the decoder sees gathered (gene, cell) pairs.
    """

    def __init__(self, n_genes: int, token_dim: int, config: StateEmbeddingConfig) -> None:
        super().__init__()
        d = config.d_model
        self.heads, self.layers = config.nhead, nn.ModuleList()
        self.register_buffer("features", torch.randn(n_genes, token_dim))
        self.encoder = nn.Sequential(nn.Linear(token_dim, d), nn.LayerNorm(d), nn.SiLU())
        self.gene_encoder = nn.Sequential(nn.Linear(token_dim, d), nn.LayerNorm(d), nn.SiLU())
        self.cls = nn.Parameter(torch.randn(d))
        self.bin_mlp = nn.Sequential(nn.Linear(1, 512), nn.LeakyReLU(), nn.Linear(512, 10))
        self.bins = nn.Parameter(torch.randn(10, d))
        for _ in range(config.nlayers):
            self.layers.append(nn.ModuleDict({
                "qkv": nn.Linear(d, 3 * d), "out": nn.Linear(d, d), "n1": nn.LayerNorm(d),
                "n2": nn.LayerNorm(d), "up": nn.Linear(d, config.d_hid),
                "down": nn.Linear(config.d_hid, d),
            }))  # fmt: skip
        self.project = nn.Linear(d, config.output_dim)
        width, hidden = d + config.output_dim + 1, config.decoder_hidden
        self.decoder = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(),
                                     nn.Linear(hidden, hidden), nn.ReLU(),
                                     nn.Linear(hidden, 1))  # fmt: skip

    def loss(self, b: SentenceBatch) -> torch.Tensor:
        x = self.encoder(functional.normalize(self.features[b.genes], dim=-1))
        share = 100 * b.values / b.values.sum(1, keepdim=True)
        x = x + self.bin_mlp(share[..., None]).softmax(-1) @ self.bins
        x = torch.cat([self.cls.expand(len(x), 1, -1), x], 1)
        for layer in self.layers:
            q, k, v = layer["qkv"](layer["n1"](x)).unflatten(
                -1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # fmt: skip
            weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
            x = x + layer["out"]((weights @ v).transpose(1, 2).flatten(-2))
            x = x + layer["down"](functional.gelu(layer["up"](layer["n2"](x))))
        z = functional.normalize(self.project(x)[:, 0], dim=-1)
        n, q = b.truth.shape
        genes = self.gene_encoder(functional.normalize(self.features[b.asked], dim=-1))
        depth = (b.values.sum(1) / (b.values > 0).sum(1).clamp_min(1))[:, None, None]
        pairs = torch.cat([genes.expand(n, q, -1), z[:, None].expand(n, q, -1),
                           depth.expand(n, q, 1)], -1)  # fmt: skip
        return functional.mse_loss(self.decoder(pairs)[..., 0], b.truth)


def speed() -> None:
    """Cells a second and peak memory of training at L 512, width 256, 4 layers.

    2,000 genes of 5,120 features, 512 asked, batches of 16 cells. On two threads by the clock,
    which other work on the machine spoils, and on one in CPU seconds; each side in its own process.
    """
    for threads in (2, 1):
        rows: dict[str, dict[str, float]] = {}
        for name in ("ours", "plain"):
            code = f"from benchmarks.state_cells import one_side; one_side({name!r}, {threads})"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                                  check=True)  # fmt: skip
            rows[name] = json.loads(done.stdout.splitlines()[-1])
        times, share = (
            round(rows["ours"][k] / rows["plain"][k], 3)
            for k in ("cells_per_s", "peak_mb_of_training")
        )
        print(json.dumps({"threads": threads, "seconds": "CPU" if threads == 1 else "clock",
                          **rows, "times as fast": times, "share of memory": share}),
              flush=True)  # fmt: skip


def one_side(name: str, threads: int) -> None:
    from perturbkit.core.features import Features

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    rng = np.random.default_rng(0)
    config = StateEmbeddingConfig(
        d_model=256, nhead=4, d_hid=512, nlayers=4, output_dim=128, sentence_length=511,
        n_asked=512, decoder_hidden=256,
    )  # fmt: skip
    genes = Vocabulary([f"G{i}" for i in range(2000)])
    torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
    if name == "ours":
        known = Features(genes, rng.normal(size=(2000, 5120)).astype(np.float32))
        means = np.zeros(2000, np.float32), np.full(2000, 0.2, np.float32)
        model: Any = StateEmbedding.build(config, genes, means, rng, features=known)
    else:
        model = Plain(2000, 5120, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    batches = [random_batch(rng) for _ in range(7 if name == "ours" else 4)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = []
    for batch in batches:
        started = clock()
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "ours"):
            loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(clock() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cells_per_s": round(16 / float(np.median(seconds[1:])), 2),
                      "peak_mb_of_training": round(peak - before)}))  # fmt: skip


def published(n_steps: int = 2) -> None:
    """Train steps of the published sizes: width 512, 8 heads, 6 layers, 2,047 genes a sentence.

    20,000 genes of 5,120 features, 512 asked, 4 cells a batch, in CPU seconds.
    """
    from perturbkit.core.features import Features

    rng, n_genes, n_cells = np.random.default_rng(0), 20_000, 4
    config = published_sizes()
    genes = Vocabulary([f"G{i}" for i in range(n_genes)])
    known = Features(genes, rng.normal(size=(n_genes, 5120)).astype(np.float32))
    means = np.zeros(n_genes, np.float32), np.full(n_genes, 0.2, np.float32)
    model = StateEmbedding.build(config, genes, means, rng, features=known)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    seconds, losses = [], []
    batch = random_batch(rng, n_genes, n_cells, config.sentence_length)
    for _ in range(n_steps + 1):
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - started)
        losses.append(round(float(loss.detach()), 3))
    print(json.dumps({
        "case": "published sizes", "weights": sum(p.numel() for p in model.parameters()),
        "cells_per_cpu_s": round(n_cells / float(np.median(seconds[1:])), 2), "losses": losses,
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }), flush=True)  # fmt: skip


def random_batch(
    rng: np.random.Generator, n_genes: int = 2000, n_cells: int = 16, length: int = 511
) -> SentenceBatch:
    genes = np.stack([512 + rng.permutation(n_genes - 512)[:length] for _ in range(n_cells)])
    values = rng.gamma(1.0, 1.0, (n_cells, length)).astype(np.float32)
    truth = (rng.random((n_cells, 512)) * rng.poisson(0.5, (n_cells, 512))).astype(np.float32)
    arrays = (np.arange(n_genes), genes, values, np.arange(512), truth,
              np.zeros(n_cells, np.int64))  # fmt: skip
    return SentenceBatch(*map(torch.from_numpy, arrays))


def memory() -> None:
    """One epoch over 50,000 cells x 2,000 genes from a store on disk; peak resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        for step in ("write_cells", "train_cells"):
            code = f"from benchmarks.state_cells import {step}; {step}({folder!r})"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                                  check=True)  # fmt: skip
            print(done.stdout.strip().splitlines()[-1], flush=True)


def write_cells(folder: str) -> None:
    import anndata as ad
    from scipy import sparse

    from perturbkit.data.prepare.settings import PrepareConfig
    from perturbkit.data.store import write_store

    rng = np.random.default_rng(0)
    rate = rng.gamma(0.3, 1.0, 2000)
    parts = [sparse.csr_matrix(rng.poisson(rate, (5000, 2000)).astype(np.float32))
             for _ in range(10)]  # fmt: skip
    adata = ad.AnnData(sparse.vstack(parts, format="csr"))
    labels = np.where(rng.random(50_000) < 0.1, "control", "A")
    adata.obs["perturbation"] = labels
    adata.uns["perturbkit"] = {"level": "cells", "unit": "counts", "format": 1}
    path = Path(folder) / "cells.h5ad"
    adata.write_h5ad(path)
    store = write_store([path], Path(folder) / "store", PrepareConfig(unit="counts"))
    print(json.dumps({"cells": store.n_cells, "genes": len(store.readouts)}))


def train_cells(folder: str) -> None:
    cells = CellStore.open(Path(folder) / "store")
    config = StateEmbeddingConfig(
        d_model=32, nhead=1, d_hid=64, nlayers=1, sentence_length=128, n_asked=128
    )
    started = time.perf_counter()
    fit_embedding(cells, config, TrainConfig(n_epochs=1, batch_cells=128), 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rate = round(cells.n_cells / (time.perf_counter() - started))
    row = {"epochs": 1, "cells": cells.n_cells, "peak_gb": round(peak, 2), "cells_per_s": rate}
    print(json.dumps(row))
