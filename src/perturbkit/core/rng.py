"""Random numbers: every draw takes a generator; nothing here or elsewhere has a global seed."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def named_rng(seed: int, *names: str | int) -> np.random.Generator:
    """Return a generator for one purpose, independent of those for other names.

    Args:
        seed: the experiment's seed.
        names: the purpose: `named_rng(0, "split")`, `named_rng(0, "member", 3)`.
    """
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], np.uint32).tolist()])


def torch_generator(rng: np.random.Generator, device: str = "cpu") -> "torch.Generator":
    """Return a torch generator seeded by one draw from `rng`."""
    import torch

    generator = torch.Generator(device=device)
    return generator.manual_seed(int(rng.integers(2**63)))
