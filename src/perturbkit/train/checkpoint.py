"""Checkpoints: everything a training needs to go on as if it had never stopped.

A checkpoint is a folder that appears by one rename, so it is whole or absent; its checksums are
tested before use, and the one before it is kept in case they fail.
"""

import json
import logging
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from perturbkit.core.errors import FileError
from perturbkit.core.files import require_space, sha256, write_json

N_KEPT = 2
_FILES = ("model.safetensors", "best.safetensors", "average.safetensors", "optimizer.pt", "rng.pt")
_log = logging.getLogger(__name__)


@dataclass
class Position:
    """Where a training stands."""

    step: int = 0
    """optimizer steps made"""
    best: float = float("inf")
    """lowest validation loss so far"""
    best_step: int = 0
    """step of that loss"""
    best_epochs: int = 0
    """epochs done by then"""
    n_bad: int = 0
    """evaluations since then"""
    n_records: int = 0
    """lines this member has written to metrics.jsonl"""
    finished: bool = False
    """whether training has come to its end"""
    loss_sum: float = 0.0
    """training loss added up since the last evaluation"""
    n_losses: int = 0
    """how many losses were added up"""


@dataclass
class Checkpoint:
    """What one checkpoint holds."""

    position: Position
    model: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    rng: torch.Tensor
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    """running average of the weights, where there is one"""


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the older ones and drop all but the last two.

    Raises:
        FileError: the disk is full or read-only; the older checkpoints stay.
    """
    n_bytes = sum(t.nbytes for t in [*checkpoint.model.values(), *checkpoint.best.values()])
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, 3 * n_bytes + 1_000_000)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        _fill(temporary, checkpoint)
        final = folder / f"step_{checkpoint.position.step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        temporary.replace(final)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        message = f"could not write a checkpoint to {folder}: {error.strerror}; free some space"
        raise FileError(message) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _steps(folder)[:-N_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _fill(folder: Path, checkpoint: Checkpoint) -> None:
    save_file(_plain(checkpoint.model), folder / "model.safetensors")
    save_file(_plain(checkpoint.best), folder / "best.safetensors")
    save_file(_plain(checkpoint.average), folder / "average.safetensors")
    torch.save(checkpoint.optimizer, folder / "optimizer.pt")
    torch.save(checkpoint.rng, folder / "rng.pt")
    for name in _FILES:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    sums = {name: sha256(folder / name) for name in _FILES}
    position = asdict(checkpoint.position)
    if position["best"] == float("inf"):
        position["best"] = None
    write_json(folder / "position.json", {"position": position, "sha256": sums})


def _plain(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # contiguous copies on the CPU: safetensors refuses views that share memory
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in state.items()}


def newest(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None where there is none.

    A checkpoint whose checksums fail is passed over with a warning in the log.
    """
    for step in reversed(_steps(folder)):
        try:
            return _read(step)
        except (OSError, KeyError, ValueError) as error:
            _log.warning("checkpoint %s is damaged (%s); using the one before", step.name, error)
    return None


def _read(folder: Path) -> Checkpoint:
    about = json.loads((folder / "position.json").read_text(encoding="utf-8"))
    for name, expected in about["sha256"].items():
        if name not in _FILES or sha256(folder / name) != expected:
            message = f"checksum of {name} does not match"
            raise ValueError(message)
    position = about["position"]
    if position["best"] is None:
        position["best"] = float("inf")
    return Checkpoint(
        Position(**position),
        load_file(folder / "model.safetensors"),
        load_file(folder / "best.safetensors"),
        torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu"),
        torch.load(folder / "rng.pt", weights_only=True),
        load_file(folder / "average.safetensors"),
    )


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*")) if folder.exists() else []
