"""Conditions as padded tensors, which can be indexed by condition, and their vectors."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from perturbkit.core.condition import Condition
from perturbkit.models.nn.perturbation import PerturbationEncoder


def padded_targets(
    encoder: PerturbationEncoder, conditions: Sequence[Condition]
) -> dict[str, Tensor]:
    """Return conditions as tensors on the CPU, first axis c.

    `targets` [c, k] holds the positions of the known targets, padded; `n_targets` says how many
    there are; `dose_um`, `time_h` and `kind` are [c].
    """
    encoded = encoder.encode(conditions).to("cpu")
    n_targets = encoded.offsets.diff()
    most = max(1, int(n_targets.max())) if len(conditions) else 1
    targets = torch.zeros(len(conditions), most, dtype=torch.int64)
    targets[torch.arange(most) < n_targets[:, None]] = encoded.codes
    return {"targets": targets, "n_targets": n_targets, "dose_um": encoded.dose_um,
            "time_h": encoded.time_h, "kind": encoded.kind}  # fmt: skip


def condition_vectors(encoder: PerturbationEncoder, rows: Mapping[str, Tensor]) -> Tensor:
    """Return the encoder's vector of each condition of `padded_targets`, [c, d].

    The control, which has no target, is zero.
    """
    n = rows["n_targets"]
    present = torch.arange(rows["targets"].shape[1], device=n.device) < n[:, None]
    offsets = functional.pad(n.cumsum(0), (1, 0))
    targets = rows["targets"][present]
    return encoder(targets, offsets, rows["dose_um"], rows["time_h"], rows["kind"])
