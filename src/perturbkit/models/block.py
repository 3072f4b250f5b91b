"""What the training loop hands to a model of profiles: some conditions by some readouts."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Block:
    """A batch; all tensors are on the device of the model."""

    rows: dict[str, Tensor]
    """what the model's `encode` made of the conditions, first axis r"""
    columns: Tensor
    """int64 [q], positions of the readouts"""
    values: Tensor
    """float32 [r, q], the model's targets; NaN where not measured"""
