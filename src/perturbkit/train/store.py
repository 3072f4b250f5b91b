"""Fitted models on disk: arrays as safetensors, everything else as JSON; no pickle."""

from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from perturbkit.core.errors import FileError
from perturbkit.core.files import atomic_path, existing, read_json, sha256, write_json
from perturbkit.core.run import Run
from perturbkit.models.card import FittedModel, ModelCard
from perturbkit.train.uncertainty import Uncertainty

FORMAT = 1
"""Version of model.json; raised when its meaning changes."""


def save_members(run: Run, card: ModelCard, config: Any, members: list[FittedModel]) -> None:
    """Write model.safetensors, then model.json with its checksum: the run is then finished."""
    arrays: dict[str, np.ndarray] = {}
    abouts = []
    for i, member in enumerate(members):
        member_arrays, about = member.state()
        arrays |= {f"m{i}.{k}": np.ascontiguousarray(v) for k, v in member_arrays.items()}
        abouts.append(about)
    weights = run.path / "model.safetensors"
    with atomic_path(weights) as temporary:
        save_file(arrays, temporary)
    about = {"format": FORMAT, "kind": card.name, "config": config.plain(),
             "sha256": sha256(weights), "members": abouts}  # fmt: skip
    write_json(run.path / "model.json", about)


def load_members(run: Run, card: ModelCard) -> list[Any]:
    """Read the members of a finished run.

    Raises:
        FileError: not finished, another layout, or weights that do not match their checksum.
    """
    run.require_finished()
    about = read_json(run.path / "model.json")
    weights = existing(run.path / "model.safetensors", "weights file")
    if about["format"] != FORMAT:
        message = f"{run.path} holds a model of layout {about['format']}; this reads {FORMAT}"
        raise FileError(message)
    if sha256(weights) != about["sha256"]:
        message = f"{weights} is not the file that was written with the run; fit again"
        raise FileError(message)
    try:
        arrays = load_file(weights)
    except SafetensorError as error:
        message = f"{weights} is not a whole safetensors file ({error}); fit again"
        raise FileError(message) from error
    config = card.config.parse({**card.before, **about["config"]}, "model.json")
    try:
        return [
            card.model.restore(config, (_of_member(arrays, i), member))
            for i, member in enumerate(about["members"])
        ]
    except (KeyError, RuntimeError) as error:
        written = read_json(run.path / "env.json").get("perturbkit", "another version")
        what = " ".join(str(error).split()[:24])
        message = (
            f"the weights of {run.path} do not fit its settings in this version ({what}); the run "
            f"was written by perturbkit {written}: open it there, or fit again"
        )
        raise FileError(message) from error


def _of_member(arrays: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    prefix = f"m{i}."
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def save_uncertainty(run: Run, uncertainty: Uncertainty) -> None:
    """Write uncertainty.safetensors and uncertainty.json, before the run counts as finished."""
    arrays, about = uncertainty.state()
    path = run.path / "uncertainty.safetensors"
    with atomic_path(path) as temporary:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary)
    write_json(run.path / "uncertainty.json", {"format": FORMAT, "sha256": sha256(path), **about})


def load_uncertainty(run: Run) -> Uncertainty | None:
    """Read what `save_uncertainty` wrote; None where a run states no uncertainty.

    Raises:
        FileError: the arrays do not match their checksum.
    """
    if not (run.path / "uncertainty.json").exists():
        return None
    about = read_json(run.path / "uncertainty.json")
    path = existing(run.path / "uncertainty.safetensors", "file of uncertainties")
    if sha256(path) != about["sha256"]:
        message = f"{path} is not the file that was written with the run; fit again"
        raise FileError(message)
    return Uncertainty.restore(load_file(path), about)
