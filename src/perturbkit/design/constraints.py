"""What an experimenter allows: budget, rounds, batch size, gene lists, and how measuring errs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from perturbkit.core.errors import SchemaError


@dataclass(frozen=True)
class Rules:
    """What an episode allows and how measurements err."""

    budget: float = 100.0
    """the sum of costs that may be spent"""
    batch: int = 1
    """conditions in a round; after each round a new batch effect is drawn"""
    rounds: int | None = None
    """rounds at most; None: as many as the budget pays"""
    noise: float = 0.0
    """standard deviation of a measurement"""
    batch_noise: float = 0.0
    """standard deviation of the error shared by a round"""
    per_gene: int | None = None
    """conditions that may perturb the same gene, where combinations are in the pool"""

    def __post_init__(self) -> None:
        least = {"budget": self.budget, "batch": self.batch, "rounds": self.rounds or 1,
                 "per_gene": self.per_gene or 1}  # fmt: skip
        for name, value in least.items():
            if not value > 0:
                message = f"{name} is {value}; it has to be above 0"
                raise SchemaError(message)
        if min(self.noise, self.batch_noise) < 0:
            message = f"noise is {min(self.noise, self.batch_noise)}; it may not be negative"
            raise SchemaError(message)


def permitted(
    targets: Sequence[tuple[str, ...]],
    *,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    max_targets: int | None = None,
) -> np.ndarray:
    """Return which conditions may ever be chosen, bool [c].

    Args:
        targets: genes of each condition.
        only: genes that may be used; None allows all.
        exclude: genes that may not, such as common essential ones.
        max_targets: how many genes a condition may perturb.

    Raises:
        SchemaError: nothing is left.
    """
    barred = set(exclude)
    wanted = None if only is None else set(only)
    allowed = np.array([
        barred.isdisjoint(t) and (wanted is None or wanted.issuperset(t))
        and (max_targets is None or len(t) <= max_targets)
        for t in targets
    ], bool)  # fmt: skip
    if not allowed.any():
        message = (
            f"the lists of genes leave none of {len(targets)} conditions; check that they name "
            "genes as the pool does"
        )
        raise SchemaError(message)
    return allowed
