"""What all tests share: the real data where they are, small planted screens, no network."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest


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
