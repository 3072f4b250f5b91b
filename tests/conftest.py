"""What all tests share: the real data where they are, small planted screens, no network."""

import os
import socket
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.units import Unit
from perturbkit.core.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host not in ("127.0.0.1", "::1", "localhost"):
                message = f"tests may not use the network; something connects to {host}"
                raise RuntimeError(message)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _same_dropout_every_time() -> None:
    """Start torch's own generator, which dropout draws from, at the same place in every test."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_rng_state(torch.Generator().manual_seed(1).get_state())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets, or skip."""
    here = Path(__file__).parents[1]
    folder = Path(os.environ.get("PERTURBKIT_DATA", here.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real data are not here; set PERTURBKIT_DATA to their folder")
    return folder


@dataclass(frozen=True)
class Planted:
    """A screen whose law is known: contexts share most of what a target does."""

    truth: Responses
    features: Features
    targets: tuple[str, ...]
    contexts: tuple[str, ...]

    def split(self, held_out: list[str]) -> tuple[Responses, Responses]:
        """Return training and held-out conditions; keys are `perturbation | context`."""
        test = np.isin(self.truth.keys, held_out)
        assert test.sum() == len(held_out)
        return self.truth.select(~test), self.truth.select(test)


@cache
def planted_screen(unit: Unit = "log1p_cp10k", noise: float = 0.05) -> Planted:
    """Plant 40 targets in 3 contexts, 12 additive combinations in the first, 60 readouts.

    The change of target t in context k is mean_k + L (I + D_k) u_t, with loadings L, small
    matrices D_k and vectors u_t, which the features are, but for a little noise. The first 30
    targets are readouts as well.
    """
    rng = np.random.default_rng(4)
    contexts, targets = ("blood", "liver", "skin"), tuple(f"G{i:02d}" for i in range(40))
    readouts = targets[:30] + tuple(f"R{i:02d}" for i in range(30))
    gene = rng.normal(size=(40, 3))
    loading = rng.normal(size=(60, 3)) / np.sqrt(3)
    rows, values = [], []
    for k, context in enumerate(contexts):
        origin = np.zeros(60) if unit != "log1p_cp10k" else rng.gamma(4.0, 0.7, 60) + 4
        mean = rng.normal(0, 0.3, 60)
        effect = mean + gene @ (np.eye(3) + 0.3 * rng.normal(size=(3, 3))).T @ loading.T / 2
        rows.append(("control", context))
        values.append(origin)
        for name, change in zip(targets, effect, strict=True):
            rows.append((name, context))
            values.append(origin + change + noise * rng.normal(size=60))
        for i in range(12 if k == 0 else 0):
            rows.append((f"{targets[i]}+{targets[39 - i]}", context))
            values.append(origin + effect[i] + effect[39 - i] + noise * rng.normal(size=60))
    table = pl.DataFrame(rows, schema=["perturbation", "context"], orient="row")
    truth = Responses(np.stack(values)[None], table, Vocabulary(readouts, "readout"), unit)
    vectors = gene + 0.05 * rng.normal(size=gene.shape)
    return Planted(truth, Features(Vocabulary(targets, "gene"), vectors), targets, contexts)


@pytest.fixture(scope="session")
def planted_law() -> Planted:
    return planted_screen()


@pytest.fixture(scope="session")
def planted_relative() -> Planted:
    return planted_screen("log2fc")
